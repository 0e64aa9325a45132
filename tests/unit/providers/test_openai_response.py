"""Normalisation of answers in which vendors deviate from OpenAI's format."""

from typing import Any

import pytest

from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.base import malformed_answer_guard
from sekha_llm_bridge.providers.openai.response import read_chat_answer
from sekha_llm_bridge.providers.token_counts import read_chat_usage, read_usage
from sekha_llm_bridge.usage import Usage
from tests.fakes.failures import raises_failure
from tests.fakes.openai_format import answer_body

CREATED = 1_700_000_000


def choice_of(**choice: Any) -> dict[str, Any]:
    body = answer_body(read_chat_answer({"choices": [choice]}, None, created=CREATED))
    found: dict[str, Any] = body["choices"][0]
    return found


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4)),
        ({"prompt_tokens": 3.0, "completion_tokens": "4"}, Usage(3, 4)),
        ({"prompt_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": 3, "completion_tokens": None}, Usage(3, 0)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2.0}}, Usage(3, 0, 2)),
        ({"prompt_tokens": 3, "prompt_tokens_details": "x"}, Usage(3, 0)),
        ({"prompt_tokens": 3, "prompt_tokens_details": [1]}, Usage(3, 0)),
        ({"prompt_tokens": -3, "completion_tokens": 4}, None),
        ({"prompt_tokens": 3, "completion_tokens": -4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": 1.5}, None),
        ({"prompt_tokens": 2**64 - 1}, None),
        ({"prompt_tokens": "9" * 30}, None),
        ({"prompt_tokens": 1e300}, None),
        ({}, None),
        ("x", None),
        (None, None),
    ],
)
def test_usage_is_read_in_the_spellings_of_vendors_and_ignored_when_it_is_not_usable(
    usage: object, expected: Usage | None
) -> None:
    assert read_usage(usage) == expected


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 11, "completion_tokens": None},
        {"prompt_tokens": 11},
    ],
)
def test_a_chat_usage_without_prompt_or_completion_tokens_is_ignored(usage: dict[str, Any]) -> None:
    assert read_chat_usage(usage) is None


@pytest.mark.parametrize("choice", [{"finish_reason": "error"}, {"finish_reason": None, "error": {"code": 502}}])
def test_an_answer_with_an_error_in_its_middle_is_malformed(choice: dict[str, Any]) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="interrupted its answer"):
        choice_of(message={"content": "Half an ans"}, **choice)


def test_tokens_that_only_the_total_includes_and_cache_writes_are_read() -> None:
    details = {"cached_tokens": 3, "cache_write_tokens": 4}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40, "prompt_tokens_details": details}
    assert read_usage(usage) == Usage(10, 5, cached_tokens=3, cache_write_tokens=4, unlisted_tokens=25)


def test_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "reference"}, {"type": "text", "text": "lo"}]
    assert choice_of(message={"content": parts})["message"]["content"] == "Hello"


def test_thinking_parts_become_reasoning_content() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]
    message = choice_of(message={"content": parts})["message"]
    assert (message["content"], message["reasoning_content"]) == ("yes", "hm")


@pytest.mark.parametrize("finish", ["error", "abort", "insufficient_system_resource"])
def test_an_answer_with_an_error_as_its_finish_reason_is_malformed(finish: str) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="interrupted its answer"):
        choice_of(finish_reason=finish, message={"content": "half"})


@pytest.mark.parametrize(("index", "finish", "role"), [(None, 5, None), ("x", "", 7), (True, {}, "bot")])
def test_unusable_indexes_finish_reasons_and_roles_are_replaced(index: object, finish: object, role: object) -> None:
    sent = {"index": index, "finish_reason": finish, "message": {"content": "x", "role": role}}
    choice = read_chat_answer({"choices": [sent]}, None, created=CREATED).choices[0]
    assert (choice.position, choice.finish_reason) == (0, None)
    assert choice_of(**sent)["message"]["role"] == "assistant"


def test_an_answer_nested_too_deeply_to_be_serialised_is_malformed() -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    with raises_failure(FailureKind.MALFORMED_ANSWER), malformed_answer_guard(None):
        read_chat_answer({"choices": [{"message": {"content": "x"}}], "extra": deep}, None, created=CREATED)


@pytest.mark.parametrize(("given_id", "created"), [(5, "2024"), (None, None), ("", -1)])
def test_an_answer_without_usable_id_and_created_gets_both(given_id: object, created: object) -> None:
    answer = {"id": given_id, "created": created, "choices": [{"message": {"content": "x"}}]}
    body = answer_body(read_chat_answer(answer, None, created=CREATED))
    assert body["id"].startswith("chatcmpl-")
    assert body["created"] == CREATED
