"""Translation of Anthropic's streamed answers: order, numbers of calls, usage, cuts, errors, unknown and wrong events."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from sekha_llm_bridge.conversation import AnswerChunk, AnswerState, Reasoning, ReasoningKind, Text
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.anthropic.output_format import ANSWER_TOOL
from sekha_llm_bridge.providers.anthropic.response import read_answer
from sekha_llm_bridge.providers.anthropic.stream import MessageReader, join_events
from sekha_llm_bridge.usage import Usage
from tests.fakes import anthropic_wire as wire
from tests.fakes.failures import raises_failure

CITATION = {"type": "char_location", "cited_text": "x"}
ANSWER = wire.message(
    wire.thinking("Let me see.", "c2ln"),
    wire.redacted("ZGF0YQ=="),
    {**wire.text("I will look."), "citations": [CITATION]},
    wire.tool_use("toolu_1", "f", x=1, y=["a", "b"]),
    wire.tool_use("toolu_2", "g"),
    stop_reason="tool_use",
    usage=wire.usage(5, 40, read=100, written=20),
)
ALL = Usage(125, 40, cached_tokens=100, cache_write_tokens=20)


def read(events: Iterable[Mapping[str, Any] | bytes]) -> list[AnswerChunk]:
    reader = MessageReader({"model": "m"}, created=1)
    data = (event if isinstance(event, bytes) else json.dumps(event).encode() for event in events)
    chunks = list(reader.read(data))
    reader.require_complete()
    return chunks


def text_of(chunks: Iterable[AnswerChunk]) -> str:
    return "".join(delta.text or "" for chunk in chunks for delta in chunk.choices)


def calls_of(chunks: Iterable[AnswerChunk]) -> dict[int, tuple[str | None, str | None, str]]:
    calls: dict[int, tuple[str | None, str | None, str]] = {}
    for call in (call for chunk in chunks for delta in chunk.choices for call in delta.tool_calls):
        call_id, name, arguments = calls.get(call.position, (call.call_id, call.name, ""))
        calls[call.position] = (call_id, name, arguments + call.arguments)
    return calls


@pytest.mark.parametrize("n_parts", [1, 2, 7])
def test_a_streamed_answer_has_the_parts_of_the_whole_one(n_parts: int) -> None:
    chunks = read(wire.events(ANSWER, n_parts=n_parts))
    assert text_of(chunks) == "I will look."
    assert calls_of(chunks) == {0: ("toolu_1", "f", '{"x": 1, "y": ["a", "b"]}'), 1: ("toolu_2", "g", "{}")}
    reasoning = [one for chunk in chunks for delta in chunk.choices for one in delta.reasoning]
    assert "".join(one.text for one in reasoning) == "Let me see."
    assert Reasoning("", ReasoningKind.ANTHROPIC, signature="c2ln") in reasoning
    assert reasoning[-1] == Reasoning("", ReasoningKind.ANTHROPIC, encrypted="ZGF0YQ==")
    assert [one for chunk in chunks for delta in chunk.choices for one in delta.citations] == [CITATION]


def test_the_last_chunk_has_the_finish_reason_and_the_whole_usage() -> None:
    (last,) = (chunk for chunk in read(wire.events(ANSWER)) if chunk.usage is not None)
    assert last.choices[0].finish_reason == "tool_calls"
    assert last.usage == ALL
    assert last.provider_usage is not None
    assert last.provider_usage["total_tokens"] == 165
    assert last.state is AnswerState.FINISHED


def test_the_first_chunk_with_a_choice_is_marked_and_all_have_the_providers_id() -> None:
    chunks = read(wire.events(ANSWER))
    deltas = [delta for chunk in chunks for delta in chunk.choices]
    assert [delta.is_first for delta in deltas] == [True] + [False] * (len(deltas) - 1)
    assert {chunk.answer_id for chunk in chunks} == {"msg_fake"}


@pytest.mark.parametrize("n_events", range(len(wire.events(ANSWER)) - 2))
def test_a_stream_that_ends_before_the_stop_reason_was_cut(n_events: int) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="cut off"):
        read(wire.events(ANSWER)[:n_events])


def test_the_stop_reason_completes_the_answer_without_message_stop() -> None:
    assert read(wire.events(ANSWER)[:-1])[-1].state is AnswerState.FINISHED


@pytest.mark.parametrize("n_events", range(len(wire.events(ANSWER)) - 1))
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", FailureKind.SERVER_ERROR),
        ("api_error", FailureKind.SERVER_ERROR),
        ("novel_error", FailureKind.SERVER_ERROR),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("timeout_error", FailureKind.TIMEOUT),
        ("billing_error", FailureKind.QUOTA_EXHAUSTED),
    ],
)
def test_an_error_event_is_its_kind_of_failure_and_may_be_billed(
    n_events: int, kind: str, expected: FailureKind
) -> None:
    with raises_failure(expected) as caught:
        read([*wire.events(ANSWER)[:n_events], wire.error(kind)])
    assert caught.value.failure.may_be_billed


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Output blocked by content filtering policy", FailureKind.CONTENT_REFUSED),
        ("prompt is too long: 210000 tokens > 200000 maximum", FailureKind.CONTEXT_LENGTH_EXCEEDED),
    ],
)
def test_a_rejection_inside_the_stream_is_no_fault_of_the_server(message: str, expected: FailureKind) -> None:
    with raises_failure(expected):
        read([wire.events(ANSWER)[0], wire.error("invalid_request_error", message)])


def test_unknown_events_blocks_and_deltas_are_ignored() -> None:
    events = wire.events(ANSWER)
    unknown: list[dict[str, Any]] = [
        {"type": "novel_event", "x": 1},
        {"type": "content_block_start", "index": 90, "content_block": {"type": "server_tool_use", "input": {}}},
        {"type": "content_block_delta", "index": 90, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_delta", "index": 90, "delta": {"type": "novel_delta"}},
        {"type": "content_block_stop", "index": 90},
        {},
    ]
    chunks = read([events[0], *unknown, *events[1:]])
    assert calls_of(chunks) == calls_of(read(events))
    assert text_of(chunks) == "I will look."


def test_pings_are_no_progress() -> None:
    chunks = read([wire.PING, *wire.events(ANSWER)])
    assert not chunks[0].is_progress
    assert chunks[-2].is_progress


@pytest.mark.parametrize(
    "event",
    [
        b"no json",
        b"[]",
        b"5",
        {"type": "message_start"},
        {"type": "message_start", "message": None},
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "x"}},
        {"type": "content_block_start", "index": 0, "content_block": None},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}},
        {"type": "content_block_delta", "index": 0, "delta": "x"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": 5}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ["x"]}},
        {"type": "message_delta", "delta": 7},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": {}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "redacted_thinking", "data": 1}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": 1, "name": "f"}},
        {"type": "message_start", "message": {"id": 5}},
        {"type": "message", "content": None},
    ],
)
def test_an_event_of_another_shape_is_malformed(event: Any) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="not of the shape") as caught:
        read([wire.events(ANSWER)[0], event])
    assert caught.value.failure.may_be_billed


def test_the_input_of_the_answer_tool_is_streamed_as_text() -> None:
    answer = wire.message(wire.tool_use("t", ANSWER_TOOL, n=1), stop_reason="tool_use")
    chunks = read(wire.events(answer, n_parts=3))
    assert json.loads(text_of(chunks)) == {"n": 1}
    assert calls_of(chunks) == {}
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_beside_the_answer_tool_nothing_is_the_text() -> None:
    blocks = wire.tool_use("t", ANSWER_TOOL, n=1), wire.text("That is all."), wire.tool_use("u", ANSWER_TOOL, n=2)
    answer = wire.message(*blocks, stop_reason="tool_use")
    assert json.loads(text_of(read(wire.events(answer)))) == {"n": 1}
    assert read_answer(answer, created=1).choices[0].blocks == (Text('{"n":1}'),)


def test_an_empty_answer_without_the_forced_call_is_no_answer() -> None:
    reader = MessageReader({"model": "m"}, created=1)
    reader.must_call = True
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
        list(reader.read(json.dumps(event).encode() for event in wire.events(wire.message())))
    assert caught.value.failure.usage == Usage(11, 7)


def test_before_its_end_an_answer_may_be_billed_more_than_the_provider_has_counted() -> None:
    wrong = {"type": "content_block_delta", "index": 0, "delta": "x"}
    with raises_failure(FailureKind.MALFORMED_ANSWER) as caught:
        read([*wire.events(ANSWER)[:-3], wrong])
    assert (caught.value.failure.usage, caught.value.failure.may_be_billed) == (None, True)


def test_arguments_in_the_first_event_of_a_call_are_read() -> None:
    block = wire.tool_use("t", "f", x=1)
    events = wire.events(wire.message(stop_reason="tool_use"))
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    chunks = read([*events[:2], start, {"type": "content_block_stop", "index": 0}, *events[2:]])
    assert calls_of(chunks) == {0: ("t", "f", '{"x":1}')}


def test_a_call_without_arguments_is_complete_where_a_server_sends_no_end_of_its_block() -> None:
    events = wire.events(wire.message(wire.tool_use("t", "f"), stop_reason="tool_use"))
    assert calls_of(read(one for one in events if one["type"] != "content_block_stop")) == {0: ("t", "f", "{}")}


def test_a_refusal_ends_the_stream_as_a_content_filter() -> None:
    details = {"type": "refusal", "explanation": "It is about that."}
    last = read(wire.events(wire.message(stop_reason="refusal", stop_details=details)))[-2]
    assert (last.choices[0].finish_reason, last.choices[0].refusal) == ("content_filter", "It is about that.")
    assert last.choices[0].extra == {"stop_reason": "refusal", "stop_details": details}


def test_a_usage_without_a_stop_reason_does_not_end_the_answer() -> None:
    events = wire.events(ANSWER)
    early = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 3}}
    (last,) = (chunk for chunk in read([*events[:4], early, *events[4:]]) if chunk.usage is not None)
    assert last.usage == ALL


def test_a_whole_answer_where_a_stream_was_requested_is_read() -> None:
    chunks = read([ANSWER])
    assert text_of(chunks) == "I will look."
    assert calls_of(chunks)[0][2] == '{"x":1,"y":["a","b"]}'
    assert calls_of(chunks)[1][2] == "{}"
    assert chunks[-2].usage == ALL


@pytest.mark.parametrize("n_parts", [1, 3])
def test_a_stream_where_a_whole_answer_was_requested_is_joined(n_parts: int) -> None:
    joined = join_events(wire.events(ANSWER, n_parts=n_parts))
    assert read_answer(joined, created=1) == read_answer(ANSWER, created=1)


def test_a_joined_stream_that_was_cut_is_no_answer() -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="cut off"):
        join_events(wire.events(ANSWER)[:-2])


def test_what_follows_the_end_of_the_answer_is_ignored() -> None:
    events: list[Any] = wire.events(ANSWER)
    assert calls_of(read([*events, b"[DONE]", b"no json"])) == calls_of(read(events))
    assert read([*events[:-1], b"[DONE]"])[-1].state is AnswerState.FINISHED


def test_an_end_without_a_stop_reason_is_a_cut() -> None:
    events = wire.events(ANSWER)
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="cut off"):
        read([*events[:-2], events[-1]])
