"""Converse's answers in the internal format."""

from typing import Any

import pytest

from sekha_llm_bridge.conversation import ChatAnswer, Reasoning, ReasoningKind, Text, ToolCall
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.bedrock.request import OUTPUT_TOOL
from sekha_llm_bridge.providers.bedrock.response import read_usage, translate_chat_answer
from sekha_llm_bridge.usage import Usage
from tests.fakes.bedrock import CACHED_USAGE, USAGE, converse_answer
from tests.fakes.failures import raises_failure
from tests.unit.providers.bedrock.conversations import CLAUDE, NOVA

THOUGHT = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}}
HIDDEN = {"reasoningContent": {"redactedContent": "AAAA"}}
CALL = {"toolUse": {"toolUseId": "c1", "name": "add", "input": {"a": 1}}}
OUTPUT = {"toolUse": {"toolUseId": "c2", "name": OUTPUT_TOOL, "input": {"city": "Bonn"}}}


def read(body: dict[str, Any], model_id: str = CLAUDE, *, has_output_tool: bool = False) -> ChatAnswer:
    return translate_chat_answer(body, model_id, created=7, has_output_tool=has_output_tool)


def test_blocks_keep_their_order() -> None:
    [choice] = read(converse_answer(None, THOUGHT, HIDDEN, {"text": "a"}, CALL, stop="tool_use")).choices
    assert choice.blocks == (
        Reasoning("hm", ReasoningKind.ANTHROPIC, signature="sig"),
        Reasoning("", ReasoningKind.ANTHROPIC, encrypted="AAAA"),
        Text("a"),
        ToolCall("c1", "add", '{"a":1}'),
    )
    assert choice.finish_reason == "tool_calls"


def test_reasoning_of_other_models_is_bedrocks_own() -> None:
    [choice] = read(converse_answer("a", THOUGHT), NOVA).choices
    assert choice.blocks[1] == Reasoning("hm", ReasoningKind.BEDROCK, signature="sig")


def test_citations_stay_with_their_text() -> None:
    citation = {"title": "facts", "location": {"documentChar": {"documentIndex": 0}}}
    cited = {"citationsContent": {"content": [{"text": "green"}], "citations": [citation]}}
    assert read(converse_answer(None, cited)).choices[0].blocks == (Text("green", citations=(citation,)),)


def test_blocks_of_other_types_are_ignored() -> None:
    assert read(converse_answer("a", {"image": {}}, {"cachePoint": {"type": "default"}})).choices[0].blocks == (
        Text("a"),
    )


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filtered", "content_filter"),
        ("a_new_reason", "a_new_reason"),
    ],
)
def test_stop_reasons_become_openais(stop: str, expected: str) -> None:
    assert read(converse_answer("a", stop=stop)).choices[0].finish_reason == expected


def test_an_answer_with_calls_ends_with_tool_calls_whatever_the_model_says() -> None:
    assert read(converse_answer("a", CALL, stop="end_turn")).choices[0].finish_reason == "tool_calls"


def test_a_blocked_answer_is_refused_content_with_its_usage() -> None:
    with raises_failure(FailureKind.CONTENT_REFUSED) as caught:
        read(converse_answer("Sorry.", stop="guardrail_intervened"))
    assert caught.value.failure.usage == Usage(11, 7)
    assert "Sorry" not in caught.value.message


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_an_answer_that_the_model_could_not_write_is_malformed(stop: str) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER) as caught:
        read(converse_answer("a", stop=stop))
    assert caught.value.failure.usage == Usage(11, 7)


@pytest.mark.parametrize("fields", [{"stop_sequence": "END"}, {"delta": {"stop_sequence": "END"}}])
def test_the_text_at_which_claude_stopped_is_known(fields: dict[str, Any]) -> None:
    body = converse_answer("a", stop="stop_sequence", additionalModelResponseFields=fields)
    assert read(body).choices[0].stop_sequence == "END"


def test_prompt_tokens_include_what_the_cache_gave_and_got() -> None:
    answer = read(converse_answer("a", usage=CACHED_USAGE))
    assert answer.usage == Usage(19, 7, cached_tokens=5, cache_write_tokens=3)
    assert answer.provider_usage == {
        "prompt_tokens": 19,
        "completion_tokens": 7,
        "total_tokens": 26,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
    }


@pytest.mark.parametrize("usage", [None, {}, {**USAGE, "inputTokens": "x"}, {"inputTokens": 1}])
def test_counts_that_are_missing_or_wrong_are_no_usage(usage: object) -> None:
    assert read_usage(usage) is None


def test_the_input_of_the_tool_for_the_answer_is_the_text() -> None:
    body = converse_answer("Here:", THOUGHT, OUTPUT, stop="tool_use")
    [choice] = read(body, has_output_tool=True).choices
    assert choice.blocks == (Reasoning("hm", ReasoningKind.ANTHROPIC, signature="sig"), Text('{"city":"Bonn"}'))
    assert choice.finish_reason == "stop"


def test_without_a_call_of_that_tool_the_answer_stays_as_it_is() -> None:
    [choice] = read(converse_answer("Bonn", CALL, stop="tool_use"), has_output_tool=True).choices
    assert choice.blocks == (Text("Bonn"), ToolCall("c1", "add", '{"a":1}'))
    assert choice.finish_reason == "tool_calls"
