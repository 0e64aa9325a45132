"""The events of ConverseStream as chunks."""

from collections.abc import Iterable
from typing import Any

import pytest

from sekha_llm_bridge.conversation import AnswerChunk, AnswerState, Reasoning, ReasoningKind
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.bedrock.event_stream import EventStreamDecoder
from sekha_llm_bridge.providers.bedrock.request import OUTPUT_TOOL
from sekha_llm_bridge.providers.bedrock.stream import ConverseStreamReader
from sekha_llm_bridge.usage import Usage
from tests.fakes.bedrock import (
    CACHED_USAGE,
    block_delta,
    block_stop,
    call_start,
    converse_events,
    encode_message,
    event,
    exception,
    message_stop,
    metadata,
    text_delta,
)
from tests.fakes.failures import raises_failure
from tests.unit.providers.bedrock.conversations import CLAUDE

WITH_OUTPUT_TOOL = {"toolConfig": {"tools": [{"toolSpec": {"name": OUTPUT_TOOL}}]}}


def reader(body: dict[str, Any] | None = None) -> ConverseStreamReader:
    return ConverseStreamReader(CLAUDE, body or {}, created=7)


def read(messages: Iterable[bytes], body: dict[str, Any] | None = None) -> list[AnswerChunk]:
    stream, decoder = reader(body), EventStreamDecoder()
    chunks = [stream.read(one) for message in messages for one in decoder.feed(message)]
    stream.require_complete()
    return chunks


def text_of(chunks: list[AnswerChunk]) -> str:
    return "".join(delta.text or "" for chunk in chunks for delta in chunk.choices)


def calls_of(chunks: list[AnswerChunk]) -> dict[int, tuple[str, str, str]]:
    calls: dict[int, tuple[str, str, str]] = {}
    for fragment in (one for chunk in chunks for delta in chunk.choices for one in delta.tool_calls):
        call_id, name, arguments = calls.get(fragment.position, (fragment.call_id or "", fragment.name or "", ""))
        calls[fragment.position] = call_id, name, arguments + fragment.arguments
    return calls


def test_texts_are_chunks_and_the_usage_follows_the_end() -> None:
    chunks = read(converse_events("Hello wörld 🎉"))
    assert text_of(chunks) == "Hello wörld 🎉"
    assert [chunk.state for chunk in chunks][-2:] == [AnswerState.FINISHED] * 2
    assert chunks[-1].is_usage_only
    assert chunks[-1].usage == Usage(11, 7)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert [delta.is_first for chunk in chunks for delta in chunk.choices][:2] == [True, False]


def test_the_usage_includes_the_cache() -> None:
    chunks = read([text_delta("a"), message_stop("end_turn"), metadata(CACHED_USAGE)])
    assert chunks[-1].usage == Usage(19, 7, cached_tokens=5, cache_write_tokens=3)
    assert (chunks[-1].provider_usage or {})["prompt_tokens"] == 19


def test_fragments_of_calls_are_joined_by_their_block() -> None:
    chunks = read(
        [
            text_delta("I add."),
            call_start("c1", "add", 1),
            call_start("c2", "add", 2),
            *(block_delta({"toolUse": {"input": part}}, 1) for part in ('{"a"', ": 1}")),
            block_delta({"toolUse": {"input": "{}"}}, 2),
            block_stop(1),
            block_stop(2),
            message_stop("tool_use"),
        ]
    )
    assert calls_of(chunks) == {0: ("c1", "add", '{"a": 1}'), 1: ("c2", "add", "{}")}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("deltas", [[], [block_delta({"toolUse": {"input": ""}})]])
def test_a_call_without_input_has_an_empty_object(deltas: list[bytes]) -> None:
    chunks = read([call_start("c1", "now"), *deltas, block_stop(), message_stop("tool_use")])
    assert calls_of(chunks) == {0: ("c1", "now", "{}")}


def test_reasoning_comes_with_its_signature_or_encrypted() -> None:
    deltas = [{"text": "hm"}, {"signature": "sig"}, {"redactedContent": "AAAA"}]
    chunks = read(
        [*(block_delta({"reasoningContent": one}) for one in deltas), text_delta("a"), message_stop("end_turn")]
    )
    own = ReasoningKind.ANTHROPIC
    assert [one for chunk in chunks for delta in chunk.choices for one in delta.reasoning] == [
        Reasoning("hm", own),
        Reasoning("", own, signature="sig"),
        Reasoning("", own, encrypted="AAAA"),
    ]


def test_citations_and_the_stop_sequence_are_carried() -> None:
    stop = message_stop("stop_sequence", additionalModelResponseFields={"delta": {"stop_sequence": "END"}})
    chunks = read([block_delta({"citation": {"title": "t"}}), stop])
    assert chunks[0].choices[0].citations == ({"title": "t"},)
    assert chunks[1].choices[0].stop_sequence == "END"


def test_events_of_a_later_version_are_no_progress() -> None:
    chunks = read([event("aNewEvent", {}), block_delta({"video": {}}), text_delta("a"), message_stop("end_turn")])
    assert [chunk.is_progress for chunk in chunks] == [False, False, True, True]


@pytest.mark.parametrize("end", [[], [metadata()], [block_stop()]])
def test_a_stream_without_its_stop_is_not_complete(end: list[bytes]) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="cut off"):
        read([text_delta("a"), *end])


def test_an_answer_without_its_usage_is_complete() -> None:
    assert text_of(read([text_delta("a"), message_stop("end_turn")])) == "a"


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("throttlingException", "Too many tokens", FailureKind.RATE_LIMITED),
        ("validationException", "Input is too long for requested model.", FailureKind.CONTEXT_LENGTH_EXCEEDED),
        ("validationException", "something", FailureKind.REQUEST_REJECTED),
        ("modelStreamErrorException", "failed", FailureKind.SERVER_ERROR),
        ("internalServerException", "failed", FailureKind.SERVER_ERROR),
        ("serviceUnavailableException", "failed", FailureKind.SERVER_ERROR),
        ("modelTimeoutException", "late", FailureKind.TIMEOUT),
        ("aNewException", "?", FailureKind.SERVER_ERROR),
    ],
)
def test_an_exception_inside_a_stream_is_its_failure(kind: str, message: str, expected: FailureKind) -> None:
    with raises_failure(expected) as caught:
        read([text_delta("a"), exception(kind, message), message_stop("end_turn")])
    assert caught.value.failure.may_be_billed
    assert caught.value.failure.provider_status == 200


def test_an_exception_before_any_content_is_not_billed() -> None:
    with raises_failure(FailureKind.RATE_LIMITED) as caught:
        read([event("messageStart", {"role": "assistant"}), exception("throttlingException", "slow down")])
    assert not caught.value.failure.may_be_billed


def test_an_exception_after_text_that_was_held_back_may_be_billed() -> None:
    with raises_failure(FailureKind.RATE_LIMITED) as caught:
        read([text_delta("a"), exception("throttlingException", "slow down")], WITH_OUTPUT_TOOL)
    assert caught.value.failure.may_be_billed


def test_an_error_message_without_payload_is_a_failure() -> None:
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "failed"}
    with raises_failure(FailureKind.SERVER_ERROR):
        read([encode_message(headers, b"")])


@pytest.mark.parametrize("end", [[], [metadata()]])
def test_a_blocked_answer_is_refused_with_its_usage_where_that_follows(end: list[bytes]) -> None:
    with raises_failure(FailureKind.CONTENT_REFUSED) as caught:
        read([text_delta("Sorry."), message_stop("guardrail_intervened"), *end])
    assert caught.value.failure.usage == (Usage(11, 7) if end else None)
    assert caught.value.failure.may_be_billed


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[]", b'{"contentBlockIndex": 0}', b'{"delta": {"toolUse": {"input": "x"}}, "contentBlockIndex": []}'],
)
def test_an_event_of_another_shape_is_malformed(payload: bytes) -> None:
    headers = {":message-type": "event", ":event-type": "contentBlockDelta"}
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        read([encode_message(headers, payload), message_stop("end_turn")])


def test_input_of_a_call_that_did_not_begin_is_malformed() -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        read([block_delta({"toolUse": {"input": "{}"}}, 5)])


def test_the_input_of_the_tool_for_the_answer_is_streamed_as_text() -> None:
    chunks = read(
        [
            text_delta("Here:"),
            call_start("c1", OUTPUT_TOOL, 1),
            *(block_delta({"toolUse": {"input": part}}, 1) for part in ('{"city":', '"Bonn"}')),
            block_stop(1),
            message_stop("tool_use"),
        ],
        WITH_OUTPUT_TOOL,
    )
    assert text_of(chunks) == '{"city":"Bonn"}'
    assert calls_of(chunks) == {}
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_only_the_first_call_of_that_tool_is_the_answer() -> None:
    calls = [
        message
        for block, city in enumerate(("Bonn", "Ulm"))
        for message in (
            call_start(f"c{block}", OUTPUT_TOOL, block),
            block_delta({"toolUse": {"input": f'{{"city":"{city}"}}'}}, block),
            block_stop(block),
        )
    ]
    chunks = read([*calls, message_stop("tool_use")], WITH_OUTPUT_TOOL)
    assert (text_of(chunks), calls_of(chunks)) == ('{"city":"Bonn"}', {})


def test_without_a_call_of_that_tool_the_text_is_the_answer() -> None:
    chunks = read([text_delta("Bo"), text_delta("nn"), message_stop("end_turn")], WITH_OUTPUT_TOOL)
    assert text_of(chunks) == "Bonn"
    assert chunks[-1].choices[0].finish_reason == "stop"
