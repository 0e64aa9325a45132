"""Translation of Anthropic's whole answers."""

import json
from typing import Any

import pytest
from openai.types import CompletionUsage

from sekha_llm_bridge.conversation import (
    ChatAnswer,
    Choice,
    OtherBlock,
    Reasoning,
    ReasoningKind,
    Refusal,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.anthropic.output_format import ANSWER_TOOL
from sekha_llm_bridge.providers.anthropic.response import read_answer
from sekha_llm_bridge.providers.anthropic.usage import read_usage
from sekha_llm_bridge.providers.base import malformed_answer_guard
from sekha_llm_bridge.usage import Usage
from tests.fakes import anthropic_wire as wire
from tests.fakes.failures import raises_failure


def read(*content: Any, **fields: Any) -> ChatAnswer:
    body = wire.message(*content, **fields)
    with malformed_answer_guard(read_usage(body["usage"])):
        return read_answer(body, created=1)


def choice_of(*content: Any, **fields: Any) -> Choice:
    return read(*content, **fields).choices[0]


def test_a_compaction_is_billed_besides_the_answer() -> None:
    """`input_tokens` and `output_tokens` are those of the answer alone, and 0 where only a compaction was asked for."""
    compaction = {"type": "compaction", **wire.usage(180_000, 3500, read=400)}
    answer = {"type": "message", **wire.usage(23_000, 1000)}
    both = {**wire.usage(23_000, 1000), "iterations": [compaction, answer]}
    assert read_usage(both) == Usage(203_400, 4500, cached_tokens=400, largest_prompt_tokens=180_400)
    alone = {"input_tokens": 0, "output_tokens": 0, "iterations": [compaction]}
    assert read_usage(alone) == Usage(180_400, 3500, cached_tokens=400)
    for iterations in (None, [], [answer], "x", [None, {"type": "compaction"}]):
        assert read_usage({**wire.usage(23_000, 1000), "iterations": iterations}) == Usage(23_000, 1000)


def test_searches_are_counted() -> None:
    used = {**wire.usage(9, 7), "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 2}}
    assert read_usage(used) == Usage(9, 7, web_searches=3)
    assert read_usage({**used, "server_tool_use": None}) == Usage(9, 7)


def test_the_blocks_keep_their_order() -> None:
    server_tool = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    blocks = choice_of(
        wire.thinking("hm", "c2ln"),
        wire.redacted("ZGF0YQ=="),
        wire.text("I look."),
        wire.tool_use("toolu_1", "f", x=1),
        server_tool,
        {"type": "novel", "x": 1},
        stop_reason="tool_use",
    ).blocks
    assert blocks == (
        Reasoning("hm", ReasoningKind.ANTHROPIC, signature="c2ln"),
        Reasoning("", ReasoningKind.ANTHROPIC, encrypted="ZGF0YQ=="),
        Text("I look."),
        ToolCall("toolu_1", "f", '{"x":1}'),
        OtherBlock("server_tool_use", server_tool),
        OtherBlock("novel", {"type": "novel", "x": 1}),
    )


def test_the_text_has_its_citations() -> None:
    citation = {"type": "char_location", "cited_text": "x"}
    assert choice_of({**wire.text("so"), "citations": [citation]}).blocks == (Text("so", citations=(citation,)),)


@pytest.mark.parametrize(
    ("stop_reason", "expected", "shown"),
    [
        ("end_turn", "stop", {}),
        ("stop_sequence", "stop", {}),
        ("max_tokens", "length", {}),
        ("model_context_window_exceeded", "length", {"stop_reason": "model_context_window_exceeded"}),
        ("refusal", "content_filter", {"stop_reason": "refusal"}),
        ("pause_turn", "stop", {"stop_reason": "pause_turn"}),
        ("novel_reason", "stop", {}),
        (None, "stop", {}),
    ],
)
def test_a_stop_reason_becomes_openais_and_is_shown_where_that_says_less(
    stop_reason: str | None, expected: str, shown: dict[str, str]
) -> None:
    choice = choice_of(wire.text("x"), stop_reason=stop_reason)
    assert (choice.finish_reason, choice.extra) == (expected, shown)


def test_calls_that_a_limit_has_cut_are_no_complete_calls() -> None:
    assert choice_of(wire.tool_use("t", "f"), stop_reason="tool_use").finish_reason == "tool_calls"
    assert choice_of(wire.tool_use("t", "f"), stop_reason="max_tokens").finish_reason == "length"


def test_the_stop_sequence_is_kept() -> None:
    assert choice_of(wire.text("x"), stop_reason="stop_sequence", stop_sequence="END").stop_sequence == "END"


def test_a_refusal_is_an_answer_with_anthropics_words() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "It is about that."}
    choice = choice_of(stop_reason="refusal", stop_details=details)
    assert choice.blocks == (Refusal("It is about that."),)
    assert choice.extra["stop_details"] == details


def test_the_input_of_the_answer_tool_is_the_text() -> None:
    choice = choice_of(wire.tool_use("t", ANSWER_TOOL, n=1), stop_reason="tool_use")
    assert choice.finish_reason == "stop"
    assert choice.blocks == (Text('{"n":1}'),)


def test_a_call_of_the_callers_tool_beside_the_answer_tool_is_a_call() -> None:
    choice = choice_of(wire.tool_use("t", "f", x=1), stop_reason="tool_use")
    assert choice.finish_reason == "tool_calls"


def test_cached_tokens_are_part_of_the_prompt() -> None:
    answer = read(wire.text("x"), usage=wire.usage(5, 40, read=100, written=20))
    assert answer.usage == Usage(125, 40, cached_tokens=100, cache_write_tokens=20)
    assert answer.provider_usage is not None
    assert answer.provider_usage["prompt_tokens_details"] == {"cached_tokens": 100, "cache_write_tokens": 20}
    assert answer.provider_usage["total_tokens"] == 165
    assert answer.provider_usage.keys() <= set(CompletionUsage.model_fields)
    json.dumps(answer.provider_usage)


def test_the_tokens_of_thinking_are_reported_as_openai_does() -> None:
    counts = {**wire.usage(), "output_tokens_details": {"thinking_tokens": 4}}
    answer = read(wire.text("x"), usage=counts)
    assert answer.provider_usage is not None
    assert answer.provider_usage["completion_tokens_details"] == {"reasoning_tokens": 4}
    assert answer.usage == Usage(11, 7)


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 5}, "x"])
def test_an_unusable_usage_is_none(usage: Any) -> None:
    answer = read_answer(wire.message(wire.text("x"), usage=usage), created=1)
    assert (answer.usage, answer.provider_usage) == (None, None)


def test_an_empty_answer_is_an_answer() -> None:
    assert choice_of().blocks == ()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "text",
        [None],
        [{"text": "x"}],
        [{"type": "text"}],
        [{"type": "text", "text": None}],
        [{"type": "tool_use", "name": "f"}],
        [{"type": "tool_use", "id": 5, "name": "f", "input": {}}],
        [{"type": "thinking", "signature": "x"}],
        [{"type": 5}],
    ],
)
def test_an_answer_of_another_shape_is_malformed_and_billed(content: Any) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER) as caught:
        read(content=content)
    assert caught.value.failure.usage == Usage(11, 7)


def test_the_answer_has_the_providers_id_or_a_new_one() -> None:
    assert read(wire.text("x")).answer_id == "msg_fake"
    assert read(wire.text("x"), id=None).answer_id.startswith("chatcmpl-")
