"""The contract of every adapter for streams, over real HTTP: complete answers, and every way in which one fails."""

import asyncio
import itertools
import json
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import AnswerState
from sekha_llm_bridge.providers import Provider
from sekha_llm_bridge.providers.openai.vendors import VENDORS, VENDORS_BY_HOST
from tests.contract import test_provider_adapters
from tests.contract.streams import TIMEOUT_S, AdapterRunner, StreamResult, call, ports, sent
from tests.contract.test_provider_adapters import FAILURES_BY_FORMAT, OF_ANTHROPIC, QUOTES_OF_THE_REQUEST
from tests.contract.wire_formats import (
    ANTHROPIC,
    BEDROCK,
    FORMATS,
    OLLAMA,
    OPENAI,
    PROMPT,
    SECRET,
    VENDOR_ROWS,
    Ending,
    Parts,
    WireFormat,
    value_at,
)
from tests.fakes import anthropic_wire, bedrock
from tests.fakes.openai_format import chunk_body
from tests.fakes.provider import (
    FakeProvider,
    Reply,
    Stream,
    chunk,
    ndjson,
    sse,
)

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.usefixtures("quick_collections"),
]

WORDS = ["Hel", "lo, ", "wörld ", "☃🎉"]


# Complete answers


def test_a_complete_answer_arrives_in_order_with_the_providers_usage(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    fake.script(wire.stream_path, wire.streams([*wire.tokens(*WORDS), *wire.end]))
    result = adapter_runner.read()
    texts = [choice["delta"].get("content") for one in result.chunks for choice in chunk_body(one)["choices"]]
    assert [text for text in texts if text] == WORDS
    assert chunk_body(result.chunks[0])["choices"][0]["delta"]["role"] == "assistant"
    assert [one.is_progress for one in result.chunks[:4]] == [True] * 4
    finishes = [choice["finish_reason"] for one in result.chunks for choice in chunk_body(one)["choices"]]
    assert finishes == [None] * 4 + ["stop"]
    assert result.usage == wire.usage
    assert result.is_complete
    assert {chunk_body(one)["id"] for one in result.chunks} == {chunk_body(result.chunks[0])["id"]}
    assert {chunk_body(one)["model"] for one in result.chunks} == {"m"}
    assert all("usage" not in chunk_body(one) for one in result.chunks)


def test_each_token_is_yielded_before_the_provider_sends_the_next(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    gates = [threading.Event() for _ in WORDS]
    parts = [part for gate, word in zip(gates, WORDS, strict=True) for part in (gate, wire.token(word))]
    fake.script(wire.stream_path, wire.streams([*parts, *wire.end]))
    result = adapter_runner.read(timeout_s=2, on_count=lambda count: gates[count].set() if count < len(gates) else None)
    assert result.text == "".join(WORDS)
    assert result.is_complete


def test_an_answer_that_arrives_byte_by_byte_is_the_same(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    body = b"".join(part for part in (*wire.tokens(*WORDS), *wire.end) if isinstance(part, bytes))
    fake.script(wire.stream_path, wire.streams([bytes([byte]) for byte in body]))
    result = adapter_runner.read()
    assert result.text == "".join(WORDS)
    assert result.usage == wire.usage
    assert result.is_complete


def test_an_answer_that_is_not_streamed_is_one_chunk(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    fake.script(wire.stream_path, Reply(body=wire.whole("Hello, world.")))
    result = adapter_runner.read()
    (only,) = result.chunks
    assert chunk_body(only)["choices"][0]["delta"] == {"role": "assistant", "content": "Hello, world."}
    assert chunk_body(only)["choices"][0]["finish_reason"] == "stop"
    assert only.usage == wire.usage
    assert result.is_complete


def test_an_answer_that_is_not_streamed_is_read(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    body = json.dumps(wire.whole("Hello, world."), ensure_ascii=False).encode()
    for parts in ([body], [bytes([byte]) for byte in body], [b"\n " + body + b"\n"]):
        fake.script(wire.stream_path, Reply(stream=Stream(parts, content_type="application/json")))
        result = adapter_runner.read()
        assert result.text == "Hello, world."
        assert result.usage == wire.usage
        assert result.is_complete


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZip"])
def test_a_compressed_answer_is_decompressed_while_it_arrives(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, coding: str
) -> None:
    press = zlib.compressobj(wbits=zlib.MAX_WBITS if coding == "deflate" else zlib.MAX_WBITS | 16)
    gate = threading.Event()
    first = press.compress(wire.token("Hello")) + press.flush(zlib.Z_SYNC_FLUSH)
    rest = press.compress(b"".join(wire.end)) + press.flush()
    fake.script(wire.stream_path, wire.streams([first, gate, rest], coding=coding))
    result = adapter_runner.read(timeout_s=2, on_count=lambda count: gate.set() if count else None)
    assert result.text == "Hello"
    assert result.usage == wire.usage
    assert result.is_complete
    assert sent(fake, wire).headers["accept-encoding"] == "identity"


def test_an_answer_in_an_unknown_content_encoding_is_malformed(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    fake.script(wire.stream_path, wire.streams([*wire.tokens("x"), *wire.end], coding="br"))
    result = adapter_runner.read()
    assert result.kind is errors.FailureKind.MALFORMED_ANSWER
    assert result.chunks == []


# Requests


def test_key_extra_headers_and_stream_true_are_sent(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    adapter_runner.read()
    request = sent(fake, wire)
    assert request.headers[wire.key_header] == wire.key_prefix + SECRET
    assert request.headers["x-extra"] == "more"
    assert request.headers["accept"] == wire.accept
    assert {name: request.body.get(name) for name in ("stream", "model") if name in request.body} == wire.stream_fields


def test_temperature_zero_stays_zero(adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider) -> None:
    adapter_runner.read(temperature=0)
    body = sent(fake, wire).body
    assert value_at(body, wire.temperature) == 0


def test_the_lowest_output_limit_is_sent(adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider) -> None:
    adapter_runner.read(cap=10, max_tokens=50)
    body = sent(fake, wire).body
    assert value_at(body, wire.output_cap) == 10


# Answers that are cut off

CUTS: list[tuple[Ending, errors.FailureKind]] = [
    ("whole", errors.FailureKind.MALFORMED_ANSWER),
    ("closed", errors.FailureKind.CONNECTION_LOST),
    ("reset", errors.FailureKind.CONNECTION_LOST),
    ("silent", errors.FailureKind.TIMEOUT),
]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize(("ending", "expected"), CUTS, ids=[ending for ending, _ in CUTS])
def test_an_answer_that_was_cut_off_is_a_failure_that_may_be_billed(
    adapter_runner: AdapterRunner,
    wire: WireFormat,
    fake: FakeProvider,
    ending: Ending,
    expected: errors.FailureKind,
    count: int,
) -> None:
    may_end = threading.Event()  # a reset discards what was sent and not read
    fake.script(wire.stream_path, wire.streams([*wire.tokens(*WORDS[:count]), may_end], ending))
    timeout_s = 0.3 if ending == "silent" else 5
    result = adapter_runner.read(timeout_s=timeout_s, on_count=lambda seen: may_end.set() if seen == count else None)
    assert result.kind is expected
    assert result.failure.may_be_billed
    assert result.text == "".join(WORDS[:count])
    assert all(one.state is AnswerState.OPEN for one in result.chunks)


def _looks_whole(result: StreamResult, text: str) -> bool:
    """Whether an answer has all its text, and the finish reason after it."""
    finishes = [choice["finish_reason"] for one in result.chunks for choice in chunk_body(one)["choices"]]
    return result.text == text and finishes.count("stop") == 1


@pytest.mark.parametrize("ending", ["whole", "closed"])
@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_answer_that_was_cut_at_any_byte_never_looks_complete(
    adapter_runner: AdapterRunner,
    wire: WireFormat,
    fake: FakeProvider,
    ending: Ending,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    whole = json.dumps(wire.whole("Hi there"), ensure_ascii=False).encode()
    body = b"".join(wire.answer("Hi there")) if is_streamed else whole
    n_complete, step = 0, 1 if ending == "whole" else 7  # only the proper end of a body can hide a cut
    for n_bytes in range(0, len(body), step):
        fake.script(wire.stream_path, wire.streams([body[:n_bytes]] if n_bytes else [], ending))
        result = adapter_runner.read()
        if result.is_complete:
            assert _looks_whole(result, "Hi there")
            n_complete += 1
        else:
            assert result.kind in {errors.FailureKind.MALFORMED_ANSWER, errors.FailureKind.CONNECTION_LOST}
            assert result.failure.may_be_billed
            assert all(one.state is AnswerState.OPEN for one in result.chunks)
    assert n_complete < len(body) / step / 2  # an event after the finish reason may be lost


AFTER_THE_FINISH: dict[str, tuple[Callable[[WireFormat], Parts], Ending]] = {
    "whole": (lambda wire: [], "whole"),
    "closed": (lambda wire: [], "closed"),
    "reset": (lambda wire: [], "reset"),
    "silent": (lambda wire: [], "silent"),
    "an error": (lambda wire: [wire.error_event("x")], "whole"),
    "an event that cannot be read": (lambda wire: [wire.not_json], "whole"),
    "a part of an event": (lambda wire: [wire.end[-1][:-5]], "closed"),
}


@pytest.mark.parametrize(("after", "ending"), AFTER_THE_FINISH.values(), ids=AFTER_THE_FINISH)
def test_a_failure_after_the_finish_reason_does_not_lose_the_answer(
    adapter_runner: AdapterRunner,
    wire: WireFormat,
    fake: FakeProvider,
    after: Callable[[WireFormat], Parts],
    ending: Ending,
) -> None:
    read = threading.Event()
    fake.script(wire.stream_path, wire.streams([*wire.tokens("Hello"), wire.end[0], read, *after(wire)], ending))
    timeout_s = 0.3 if ending == "silent" else 5
    result = adapter_runner.read(timeout_s=timeout_s, on_count=lambda count: read.set() if count == 2 else None)
    assert result.is_complete
    assert _looks_whole(result, "Hello")


@pytest.mark.parametrize("ending", ["whole", "closed"])
def test_an_incomplete_event_is_not_yielded(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, ending: Ending
) -> None:
    fake.script(wire.stream_path, wire.streams([*wire.tokens("Hello"), wire.end[0][:-3]], ending))
    result = adapter_runner.read()
    assert result.error is not None
    assert result.text == "Hello"


@pytest.mark.parametrize(("ending", "is_complete"), [("whole", True), ("closed", False), ("reset", False)])
def test_a_last_line_without_its_line_end_is_read_only_after_the_proper_end_of_the_stream(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, ending: Ending, *, is_complete: bool
) -> None:
    fake.script(wire.stream_path, wire.streams([*wire.tokens("Hello"), wire.end[0].rstrip()], ending))
    result = adapter_runner.read()
    assert (result.error is None) == is_complete


def test_an_empty_stream_is_malformed(adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider) -> None:
    fake.script(wire.stream_path, wire.streams([b"\n\n"]))
    result = adapter_runner.read()
    assert result.kind is errors.FailureKind.MALFORMED_ANSWER
    assert result.chunks == []


# Failures


@pytest.mark.parametrize(
    ("wire", "reply", "expected"), FAILURES_BY_FORMAT, indirect=["wire"], ids=lambda value: getattr(value, "name", "")
)
def test_every_error_answer_becomes_its_kind_of_failure(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, reply: Reply, expected: errors.FailureKind
) -> None:
    fake.script(wire.stream_path, reply)
    result = adapter_runner.read()
    assert result.kind is expected
    assert result.chunks == []
    assert SECRET not in str(result.error)
    assert len(fake.received) == 1


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)])
def test_retry_after_is_read_in_both_of_its_forms(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, header: str, seconds: float | None
) -> None:
    fake.script(wire.stream_path, Reply(429, {}, headers={"retry-after": header}))
    failure = adapter_runner.read().failure
    assert failure.kind is errors.FailureKind.RATE_LIMITED
    assert failure.retry_after_s == seconds


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/x-ndjson"])
def test_an_error_status_is_a_failure_whatever_its_content_type(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, content_type: str
) -> None:
    fake.script(
        wire.stream_path, Reply(429, stream=Stream([b'{"error": {"message": "x"}}'], content_type=content_type))
    )
    assert adapter_runner.read().kind is errors.FailureKind.RATE_LIMITED


def test_an_error_status_is_classified_although_its_body_cannot_be_decoded(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    fake.script(wire.stream_path, Reply(401, raw=b"\x00", headers={"content-encoding": "br"}))
    assert adapter_runner.read().kind is errors.FailureKind.CREDENTIALS_REJECTED


def test_a_redirect_is_not_followed(adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider) -> None:
    fake.script(wire.stream_path, Reply(307, {}, headers={"location": fake.url + wire.stream_path}))
    assert adapter_runner.read().kind is errors.FailureKind.MALFORMED_ANSWER
    assert len(fake.received) == 1


def test_a_refused_connection_is_a_failed_connection(adapter_runner: AdapterRunner, fake: FakeProvider) -> None:
    fake.stop()
    assert adapter_runner.read().kind is errors.FailureKind.CONNECT_FAILED


def test_a_provider_that_sends_no_headers_is_a_timeout(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    silence = Reply(hang=True)
    fake.script(wire.stream_path, silence)
    assert adapter_runner.read(timeout_s=0.2).kind is errors.FailureKind.TIMEOUT
    assert silence.client_disconnected.wait(TIMEOUT_S)


ERROR_EVENTS = [
    ({"message": "slow down", "code": 429}, errors.FailureKind.RATE_LIMITED),
    ({"message": "slow down", "code": "429"}, errors.FailureKind.RATE_LIMITED),
    ({"message": "x", "code": "rate_limit_exceeded"}, errors.FailureKind.RATE_LIMITED),
    ({"message": "x", "code": 402}, errors.FailureKind.QUOTA_EXHAUSTED),
    ({"message": "x", "code": "insufficient_quota"}, errors.FailureKind.QUOTA_EXHAUSTED),
    ({"message": "it was flagged", "code": 403}, errors.FailureKind.CONTENT_REFUSED),
    ({"message": "x", "code": "content_filter"}, errors.FailureKind.CONTENT_REFUSED),
    ({"message": "x", "code": 502}, errors.FailureKind.SERVER_ERROR),
    ({"message": "x", "type": "server_error", "code": None}, errors.FailureKind.SERVER_ERROR),
    ({"message": "x", "code": "context_length_exceeded"}, errors.FailureKind.CONTEXT_LENGTH_EXCEEDED),
    ({"message": "x", "code": 504}, errors.FailureKind.TIMEOUT),
    ({"message": "x"}, errors.FailureKind.SERVER_ERROR),
    ("an unexpected error was encountered", errors.FailureKind.SERVER_ERROR),
    ("rate_limit content_filter", errors.FailureKind.SERVER_ERROR),
]


EXCEPTIONS_OF_BEDROCK = [
    ("throttlingException", "x", errors.FailureKind.RATE_LIMITED),
    ("validationException", "Input is too long for requested model.", errors.FailureKind.CONTEXT_LENGTH_EXCEEDED),
    ("validationException", "x", errors.FailureKind.REQUEST_REJECTED),
    ("modelStreamErrorException", "x", errors.FailureKind.SERVER_ERROR),
    ("internalServerException", "x", errors.FailureKind.SERVER_ERROR),
    ("serviceUnavailableException", "x", errors.FailureKind.SERVER_ERROR),
    ("modelTimeoutException", "x", errors.FailureKind.TIMEOUT),
    ("ofALaterVersion", "x", errors.FailureKind.SERVER_ERROR),
]
ERROR_EVENTS_BY_FORMAT = [
    *((wire, sse({"error": error}), kind) for wire in (OPENAI, ANTHROPIC) for error, kind in ERROR_EVENTS),
    *((OLLAMA, ndjson({"error": error}), kind) for error, kind in ERROR_EVENTS),
    *((ANTHROPIC, anthropic_wire.sse(anthropic_wire.error(name, text)), kind) for _, name, text, kind in OF_ANTHROPIC),
    *((BEDROCK, bedrock.exception(name, text), kind) for name, text, kind in EXCEPTIONS_OF_BEDROCK),
]


@pytest.mark.parametrize(("wire", "event", "expected"), ERROR_EVENTS_BY_FORMAT, indirect=["wire"])
def test_an_error_event_becomes_its_kind_of_failure_and_may_be_billed(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, event: bytes, expected: errors.FailureKind
) -> None:
    fake.script(wire.stream_path, wire.streams([*wire.tokens("Hello"), event, *wire.end]))
    result = adapter_runner.read()
    assert result.kind is expected
    assert result.failure.may_be_billed
    assert result.text == "Hello"


def test_an_error_event_before_the_first_token_is_a_failure(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    fake.script(wire.stream_path, wire.streams([wire.error_event("x"), *wire.end]))
    result = adapter_runner.read()
    assert result.kind is errors.FailureKind.SERVER_ERROR
    assert result.chunks == []


@pytest.mark.parametrize("quote", QUOTES_OF_THE_REQUEST)
def test_the_message_in_an_error_event_is_never_passed_on(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, quote: str
) -> None:
    fake.script(wire.stream_path, wire.streams([*wire.tokens("x"), wire.error_event(quote)]))
    failure = adapter_runner.read().failure
    assert failure.message == "the provider put an error into its answer"


MALFORMED: dict[str, tuple[bytes, bytes]] = {
    "no JSON": (b"data: {no\n\n", b"{no\n"),
    "words of the prompt": (b"data: " + PROMPT.encode() + b"\n\n", PROMPT.encode() + b"\n"),
    "a list": (sse([]), ndjson([])),
    "a string": (sse("x"), ndjson("x")),
    "null": (sse(None), ndjson(None)),
    "something of another shape": (sse({"choices": "x"}), ndjson({"message": "x"})),
    "content that is a number": (chunk({"content": 5}), ndjson({"message": {"content": 5}})),
    "an end of another shape": (
        sse({"choices": [{"delta": [1], "finish_reason": "stop"}]}),
        ndjson({"message": [1], "done": True}),
    ),
    "an end with content that is an object": (
        chunk({"content": {"a": 1}}, finish="stop"),
        ndjson({"message": {"content": {"a": 1}}, "done": True}),
    ),
    "tool calls that are a number": (chunk({"tool_calls": 5}), ndjson({"message": {"tool_calls": 5}})),
    "a tool call with a function that is not an object": (
        chunk({"tool_calls": [{"function": "f"}]}, finish="tool_calls"),
        ndjson({"message": {"tool_calls": [{"function": "f"}]}, "done": True}),
    ),
    "an empty tool call": (chunk({"tool_calls": [None]}), ndjson({"message": {"tool_calls": [{}]}})),
    "nested too deeply to be read": (
        b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n\n",
        b"[" * 5000 + b"]" * 5000 + b"\n",
    ),
}


def _anthropic(**fields: Any) -> bytes:
    return anthropic_wire.sse({"type": "content_block_delta", "index": 0, **fields})


def _bedrock(payload: bytes, kind: str = "contentBlockDelta") -> bytes:
    return bedrock.encode_message({":message-type": "event", ":event-type": kind}, payload)


_DEEP = b"[" * 5000 + b"]" * 5000
_NO_REASON: dict[str, Any] = {"type": "message_delta", "usage": {}}
MALFORMED_OF_ANTHROPIC = {
    "no JSON": ANTHROPIC.not_json,
    "words of the prompt": b"data: " + PROMPT.encode() + b"\n\n",
    "a list": sse([]),
    "a string": sse("x"),
    "null": sse(None),
    "no delta": _anthropic(),
    "a delta that is a number": _anthropic(delta=5),
    "content that is a number": _anthropic(delta={"type": "text_delta", "text": 5}),
    "reasoning that is a number": _anthropic(delta={"type": "thinking_delta", "thinking": 5}),
    "an end of another shape": anthropic_wire.sse({**_NO_REASON, "delta": 5}),
    "a start of another shape": anthropic_wire.sse({"type": "message_start", "message": 5}),
    "a block that is a number": anthropic_wire.sse({"type": "content_block_start", "index": 1, "content_block": 5}),
    "a call without a name": anthropic_wire.sse(
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a"}}
    ),
    "a call whose name is a number": anthropic_wire.sse(
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a", "name": 5}}
    ),
    "nested too deeply to be read": b"data: " + _DEEP + b"\n\n",
}
MALFORMED_OF_BEDROCK = {
    "no JSON": BEDROCK.not_json,
    "words of the prompt": _bedrock(PROMPT.encode()),
    "a list": _bedrock(b"[]"),
    "a string": _bedrock(b'"x"'),
    "null": _bedrock(b"null"),
    "no payload": _bedrock(b""),
    "no delta": bedrock.event("contentBlockDelta", {"contentBlockIndex": 0}),
    "a start that is a number": bedrock.event("contentBlockStart", {"contentBlockIndex": 1, "start": 5}),
    "a call without a name": bedrock.event(
        "contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "a"}}}
    ),
    "input of a call that was not started": bedrock.block_delta({"toolUse": {"input": "{}"}}, 7),
    "a delta that is a number": bedrock.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": 5}),
    "text that is a number": bedrock.block_delta({"text": 5}),
    "reasoning that is a number": bedrock.block_delta({"reasoningContent": 5}),
    "a text of reasoning that is a number": bedrock.block_delta({"reasoningContent": {"text": 5}}),
    "an end without a reason": bedrock.event("messageStop", {}),
    "an end with a reason that is an object": bedrock.event("messageStop", {"stopReason": {"a": 1}}),
    "an end with a reason that is a number": bedrock.event("messageStop", {"stopReason": 5}),
    "a wrong checksum": bedrock.text_delta("x")[:-1] + b"!",
    "an impossible length": b"\xff" * 16,
    "another framing": sse({"choices": []}),
    "nested too deeply to be read": _bedrock(_DEEP),
}
MALFORMED_BY_FORMAT = [
    *((OPENAI, of_openai) for of_openai, _ in MALFORMED.values()),
    *((OLLAMA, of_ollama) for _, of_ollama in MALFORMED.values()),
    *((ANTHROPIC, bad) for bad in MALFORMED_OF_ANTHROPIC.values()),
    *((BEDROCK, bad) for bad in MALFORMED_OF_BEDROCK.values()),
]
MALFORMED_NAMES = [
    f"{name}: {case}"
    for name, cases in (
        ("openai", MALFORMED),
        ("ollama", MALFORMED),
        ("anthropic", MALFORMED_OF_ANTHROPIC),
        ("bedrock", MALFORMED_OF_BEDROCK),
    )
    for case in cases
]


@pytest.mark.parametrize(("wire", "bad"), MALFORMED_BY_FORMAT, indirect=["wire"], ids=MALFORMED_NAMES)
def test_an_event_of_another_shape_is_malformed_and_does_not_end_the_answer(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, bad: bytes
) -> None:
    fake.script(wire.stream_path, wire.streams([*wire.tokens("Hello"), bad, *wire.end]))
    result = adapter_runner.read()
    assert result.kind is errors.FailureKind.MALFORMED_ANSWER
    assert result.failure.may_be_billed
    assert result.text == "Hello"
    assert "submarine" not in str(result.error)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"content": "Half"}, "finish_reason": "error"}]},
        {"message": {"tool_calls": 5}},
        {"message": {"content": 5}},
        {"message": "x"},
        {"message": {"content": "Half"}, "done": False},
        {"content": "x", "stop_reason": "end_turn"},
        {"content": [5], "stop_reason": "end_turn"},
        {"content": [{"type": "text", "text": 5}], "stop_reason": "end_turn"},
        {"type": "message", "stop_reason": "end_turn"},
        {"output": {"message": {"content": [{"text": "no stop reason"}]}}},
        {"output": {"message": {"content": 5}}, "stopReason": "end_turn"},
        {"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": "malformed_model_output"},
    ],
    ids=str,
)
def test_an_answer_of_another_shape_that_is_not_streamed_is_malformed(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, body: dict[str, Any]
) -> None:
    fake.script(wire.stream_path, Reply(body=body))
    result = adapter_runner.read()
    assert result.kind is errors.FailureKind.MALFORMED_ANSWER
    assert result.chunks == []


# Client disconnects


def test_closing_the_generator_closes_the_connection_at_once(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    reply = wire.streams(wire.tokens("x"), "silent")
    fake.script(wire.stream_path, reply)

    async def leave(adapter: Provider) -> bool:
        chunks = adapter.stream(call(), timeout_s=60)
        await anext(chunks)
        await chunks.aclose()
        return await provider_saw_disconnect(reply)

    assert adapter_runner.run(leave)


@pytest.mark.parametrize("count", [0, 1])
def test_cancelling_the_reading_task_closes_the_connection_at_once(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, count: int
) -> None:
    asked = threading.Event()

    def parts() -> Iterator[bytes | threading.Event]:
        asked.set()
        yield from wire.tokens(*WORDS[:count])

    reply = wire.streams(parts(), "silent")
    fake.script(wire.stream_path, reply)

    async def cancel(adapter: Provider) -> bool:
        waiting = asyncio.Event()

        async def reading() -> None:
            chunks = adapter.stream(call(), timeout_s=60)
            for _ in range(count):
                await anext(chunks)
            waiting.set()
            await anext(chunks)

        task = asyncio.create_task(reading())
        await waiting.wait()
        assert await asyncio.to_thread(asked.wait, TIMEOUT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await provider_saw_disconnect(reply)

    assert adapter_runner.run(cancel)


def test_a_timeout_around_the_reading_closes_the_connection(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    reply = wire.streams(wire.tokens("x"), "silent")
    fake.script(wire.stream_path, reply)

    async def limited(adapter: Provider) -> bool:
        chunks = adapter.stream(call(), timeout_s=60)
        await anext(chunks)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(chunks)
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
        return await provider_saw_disconnect(reply)

    assert adapter_runner.run(limited)


def test_a_stream_that_is_closed_before_its_first_chunk_sends_no_request(
    adapter_runner: AdapterRunner, fake: FakeProvider
) -> None:
    async def close(adapter: Provider) -> None:
        await adapter.stream(call(), timeout_s=5).aclose()

    adapter_runner.run(close)
    assert fake.received == []


async def provider_saw_disconnect(reply: Reply) -> bool:
    """Whether the provider of a silent stream has seen that the connection is closed."""
    assert reply.stream is not None
    return await asyncio.to_thread(reply.stream.client_disconnected.wait, TIMEOUT_S)


# Connections


def test_a_connection_is_used_again_after_a_complete_answer(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    for reply in (None, Reply(body=wire.whole("x")), Reply(500, {}), None):
        if reply is not None:
            fake.script(wire.stream_path, reply)
        adapter_runner.read()
    assert len(ports(fake)) == 4
    assert len(set(ports(fake))) == 1


BROKEN_ANSWERS: list[Callable[[WireFormat], Reply]] = [
    lambda wire: wire.streams(wire.tokens("x"), "closed"),
    lambda wire: wire.streams(wire.tokens("x"), "reset"),
    lambda wire: wire.streams(wire.tokens("x"), "silent"),
    lambda wire: wire.streams([*wire.tokens("x"), wire.error_event("x")], "silent"),
    lambda wire: wire.streams([*wire.tokens("x"), wire.not_json], "silent"),
]


@pytest.mark.parametrize("broken", BROKEN_ANSWERS)
def test_a_connection_is_not_used_again_after_a_broken_answer(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider, broken: Callable[[WireFormat], Reply]
) -> None:
    fake.script(wire.stream_path, broken(wire))
    assert adapter_runner.read(timeout_s=0.3).error is not None
    assert adapter_runner.read().is_complete
    first, second = ports(fake)
    assert first != second


def test_a_connection_is_not_used_again_after_a_client_disconnect(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    async def leave(adapter: Provider) -> None:
        chunks = adapter.stream(call(), timeout_s=5)
        await anext(chunks)
        await chunks.aclose()

    adapter_runner.run(leave)
    assert adapter_runner.read().is_complete
    first, second = ports(fake)
    assert first != second


def test_a_provider_that_keeps_the_connection_open_after_the_end_delays_nothing(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    reply = wire.streams([*wire.tokens("Hello"), *wire.end], "silent")
    fake.script(wire.stream_path, reply)
    result = adapter_runner.read(timeout_s=60)
    assert result.text == "Hello"
    assert result.usage == wire.usage
    assert result.is_complete
    assert adapter_runner.run(lambda adapter: provider_saw_disconnect(reply))
    assert adapter_runner.read().is_complete
    first, second = ports(fake)
    assert first != second


def test_a_provider_that_keeps_sending_after_the_end_delays_nothing(
    adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider
) -> None:
    talk = itertools.chain([*wire.tokens("Hello"), *wire.end], itertools.repeat(b"\n"))
    fake.script(wire.stream_path, Reply(stream=Stream(talk, content_type=wire.content_type)))
    result = adapter_runner.read()
    assert result.text == "Hello"
    assert result.is_complete


def test_two_concurrent_answers_do_not_mix(adapter_runner: AdapterRunner, wire: WireFormat, fake: FakeProvider) -> None:
    gate = threading.Event()
    fake.script(wire.stream_path, wire.streams([*wire.tokens("a"), gate, *wire.tokens("b"), *wire.end]))

    async def both(adapter: Provider) -> tuple[str, str]:
        slow = adapter.stream(call(), timeout_s=5)
        result = StreamResult([await anext(slow)])
        fake.script(wire.stream_path, wire.streams([*wire.tokens("c", "d"), *wire.end]))
        other = StreamResult([one async for one in adapter.stream(call(), timeout_s=5)])
        gate.set()
        result.chunks.extend([one async for one in slow])
        return result.text, other.text

    assert adapter_runner.run(both) == ("ab", "cd")


def test_every_claim_that_a_format_is_exempt_from_is_one_of_this_contract() -> None:
    claims = {name for module in (test_provider_adapters, sys.modules[__name__]) for name in dir(module)}
    for wire in FORMATS:
        assert wire.inapplicable.keys() <= claims
        assert all(wire.inapplicable.values())


def test_every_row_of_a_vendor_is_in_this_contract() -> None:
    tested = {wire.vendor or VENDORS[ProviderType(wire.provider_type)] for wire in VENDOR_ROWS}
    assert {*VENDORS.values(), *VENDORS_BY_HOST.values()} <= tested
