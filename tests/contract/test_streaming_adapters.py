"""The contract of every adapter for streams, over real HTTP: complete answers, and every way in which one fails."""

import asyncio
import gc
import itertools
import json
import sys
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState
from sekha_llm_bridge.providers import ChatCall, Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.openai.vendors import VENDORS, VENDORS_BY_HOST
from sekha_llm_bridge.usage import Usage
from tests.contract import test_provider_adapters
from tests.contract.test_provider_adapters import FAILURES_BY_FORMAT, OF_ANTHROPIC, PROMPT, QUOTES_OF_THE_REQUEST
from tests.contract.wire_formats import (
    ANTHROPIC,
    BEDROCK,
    DONE,
    FINISH,
    FORMATS,
    OLLAMA,
    OPENAI,
    SECRET,
    USAGE,
    VENDOR_ROWS,
    Ending,
    Parts,
    WireFormat,
    value_at,
)
from tests.fakes import anthropic_wire, bedrock
from tests.fakes.openai_format import chat_call, chunk_body
from tests.fakes.provider import (
    FakeProvider,
    Received,
    Reply,
    Stream,
    chat_completion,
    chunk,
    ndjson,
    ollama_chat,
    sse,
)
from tests.fakes.unfinished_work import fast_garbage_collection, unfinished_work

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

T = TypeVar("T")
WORDS = ["Hel", "lo, ", "wörld ", "☃🎉"]
TIMEOUT_S = 10


@dataclass(frozen=True)
class StreamResult:
    """The chunks of a stream, and the error that ended it."""

    chunks: list[AnswerChunk]
    error: errors.ProviderError | None = None

    @property
    def failure(self) -> errors.Failure:
        assert self.error is not None
        return self.error.failure

    @property
    def kind(self) -> errors.FailureKind:
        return self.failure.kind

    @property
    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or "" for one in self.chunks for choice in chunk_body(one)["choices"]
        )

    @property
    def usage(self) -> Usage | None:
        return next((one.usage for one in reversed(self.chunks) if one.usage is not None), None)

    @property
    def is_complete(self) -> bool:
        return self.error is None and self.chunks[-1].state is not AnswerState.OPEN


class AdapterRunner:
    """Runs the adapter under test on an event loop of its own, which must have no tasks left at the end."""

    def __init__(self, runner: asyncio.Runner, adapter: Provider) -> None:
        self._runner = runner
        self._adapter = adapter

    def run(self, what: Callable[[Provider], Awaitable[T]]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(TIMEOUT_S):
                return await what(self._adapter)

        return self._runner.run(bounded())

    def read(
        self,
        *,
        cap: int | None = None,
        timeout_s: float = 5,
        on_count: Callable[[int], None] = lambda count: None,
        **request: Any,
    ) -> StreamResult:
        """Reads a whole stream. `on_count` is called with the number of chunks so far, beginning with 0."""

        async def reading(adapter: Provider) -> StreamResult:
            chunks: list[AnswerChunk] = []
            on_count(0)
            try:
                async for one in adapter.stream(call(cap, **request), timeout_s=timeout_s):
                    chunks.append(one)
                    on_count(len(chunks))
            except errors.ProviderError as exc:
                return StreamResult(chunks, exc)
            return StreamResult(chunks)

        return self.run(reading)


def call(cap: int | None = None, **request: Any) -> ChatCall:
    return chat_call("m", {"messages": [{"role": "user", "content": PROMPT}], **request}, cap, 4096)


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Makes garbage collection fast, so that each test can check for its own leftovers."""
    with fast_garbage_collection():
        yield


def _adapter_runner(fake: FakeProvider, wire: WireFormat) -> Iterator[AdapterRunner]:
    http, faults = JsonHttp(SystemClock()), list[Mapping[str, Any]]()
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        yield AdapterRunner(runner, wire.make_adapter(wire.config(fake.url), http))
        assert runner.run(unfinished_work()) == []
        runner.run(http.aclose())
    gc.collect()
    assert faults == []


@pytest.fixture
def adapter_runner(wire: WireFormat, fake: FakeProvider) -> Iterator[AdapterRunner]:
    """An adapter of each wire format in turn."""
    yield from _adapter_runner(fake, wire)


@pytest.fixture
def openai(fake: FakeProvider) -> Iterator[AdapterRunner]:
    """The adapter for OpenAI's format."""
    yield from _adapter_runner(fake, OPENAI)


@pytest.fixture
def ollama(fake: FakeProvider) -> Iterator[AdapterRunner]:
    """The adapter for Ollama's format."""
    yield from _adapter_runner(fake, OLLAMA)


def sent(fake: FakeProvider, wire: WireFormat) -> Received:
    return fake.calls(wire.stream_path)[-1]


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


def ports(fake: FakeProvider) -> list[int]:
    return [request.peer_port for request in fake.received]


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


# OpenAI's wire format


@pytest.mark.parametrize("rest", [[], [DONE], [USAGE], [USAGE, DONE], [b": bye\n\n", DONE]], ids=str)
def test_an_answer_with_a_finish_reason_is_complete_with_and_without_done(
    openai: AdapterRunner, fake: FakeProvider, rest: list[bytes]
) -> None:
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("Hello"), FINISH, *rest]))
    result = openai.read()
    assert result.text == "Hello"
    assert result.usage == (OPENAI.usage if USAGE in rest else None)
    assert result.is_complete


@pytest.mark.parametrize("ending", ["whole", "closed", "reset", "silent"])
@pytest.mark.parametrize("before", [[], OPENAI.tokens("Hello"), [*OPENAI.tokens("Hello"), USAGE]], ids=len)
def test_done_without_a_finish_reason_is_a_failure(
    openai: AdapterRunner, fake: FakeProvider, before: Parts, ending: Ending
) -> None:
    fake.script(OPENAI.stream_path, OPENAI.streams([*before, DONE], ending))
    result = openai.read(timeout_s=0.3 if ending == "silent" else 5)
    assert result.error is not None
    if ending != "reset":  # a reset may discard what was sent before
        assert result.kind is errors.FailureKind.MALFORMED_ANSWER


@pytest.mark.parametrize("finishes", [1, 2])
def test_both_of_two_choices_need_a_finish_reason(openai: AdapterRunner, fake: FakeProvider, finishes: int) -> None:
    sent_events = [chunk({"content": "a"}, index=1), chunk({"content": "b"}, index=0)]
    ends = [chunk({}, finish="stop", index=index) for index in range(finishes)]
    fake.script(OPENAI.stream_path, OPENAI.streams([*sent_events, *ends, DONE]))
    result = openai.read(n=2)
    assert result.text == "ab"
    assert (result.error is None) == (finishes == 2)


AFTER_THE_END: dict[str, tuple[Parts, Ending]] = {
    "closed": ([], "closed"),
    "reset": ([], "reset"),
    "silent": ([], "silent"),
    "an error": ([sse({"error": {"message": "x", "code": 500}})], "whole"),
    "no JSON": ([b"data: {no\n\n"], "whole"),
    "a usage cut in its middle": ([USAGE[:-9]], "closed"),
    "another shape": ([sse({"choices": [5]})], "whole"),
}


@pytest.mark.parametrize(("after", "ending"), AFTER_THE_END.values(), ids=AFTER_THE_END)
def test_a_failure_after_the_end_of_the_answer_loses_only_the_usage(
    openai: AdapterRunner, fake: FakeProvider, after: Parts, ending: Ending
) -> None:
    read = threading.Event()
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("Hello"), FINISH, read, *after], ending))
    result = openai.read(
        timeout_s=0.3 if ending == "silent" else 5, on_count=lambda count: read.set() if count == 2 else None
    )
    assert result.text == "Hello"
    assert result.usage is None
    assert result.is_complete


def test_an_error_event_with_usage_is_billed_by_it(openai: AdapterRunner, fake: FakeProvider) -> None:
    usage = chat_completion("")["usage"]
    event = {"error": {"message": "x", "code": 502}, "choices": [{"delta": {}, "finish_reason": "error"}]}
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("x"), sse({**event, "usage": usage})]))
    failure = openai.read().failure
    assert failure.kind is errors.FailureKind.SERVER_ERROR
    assert failure.usage == OPENAI.usage


def test_a_choice_that_ends_with_an_error_is_malformed(openai: AdapterRunner, fake: FakeProvider) -> None:
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("x"), chunk({}, finish="error"), DONE]))
    result = openai.read()
    assert result.kind is errors.FailureKind.MALFORMED_ANSWER
    assert all(one.state is AnswerState.OPEN for one in result.chunks)


def test_usage_in_every_chunk_is_read_in_every_chunk(openai: AdapterRunner, fake: FakeProvider) -> None:
    counts = [{"prompt_tokens": 3, "completion_tokens": count} for count in (1, 2)]
    parts: Parts = [chunk({"content": "x"}, usage=counts[0]), chunk({}, finish="stop", usage=counts[1]), DONE]
    fake.script(OPENAI.stream_path, OPENAI.streams(parts))
    result = openai.read()
    assert [(one.usage, one.provider_usage) for one in result.chunks] == [
        (Usage(3, 1), counts[0]),
        (Usage(3, 2), counts[1]),
    ]


def test_carriage_returns_comments_and_other_fields_are_ignored(openai: AdapterRunner, fake: FakeProvider) -> None:
    events = b"".join([b": OPENROUTER PROCESSING\n\n", b"event: x\nid: 1\n", chunk({"content": "Hello"}), FINISH, DONE])
    fake.script(
        OPENAI.stream_path,
        OPENAI.streams([b"\xef\xbb\xbf" + events.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")]),
    )
    result = openai.read()
    assert result.text == "Hello"
    assert result.is_complete


@pytest.mark.parametrize(
    "options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}], ids=str
)
def test_usage_is_always_requested(openai: AdapterRunner, fake: FakeProvider, options: dict[str, Any]) -> None:
    openai.read(**options)
    assert sent(fake, OPENAI).body["stream_options"] == {"include_usage": True}


def test_the_callers_other_stream_options_are_kept(openai: AdapterRunner, fake: FakeProvider) -> None:
    openai.read(stream_options={"include_obfuscation": False})
    assert sent(fake, OPENAI).body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


REJECTIONS = [
    Reply(400, {"error": {"message": "Unknown field: stream_options"}}),
    Reply(400, {"error": {"message": "x", "param": "stream_options"}}),
    Reply(400, {"error": {"message": "x", "param": "stream_options.include_usage"}}),
    Reply(422, {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}}),
]


@pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda reply: str(reply.body))
def test_a_server_that_rejects_stream_options_gets_them_only_once(
    openai: AdapterRunner, fake: FakeProvider, rejection: Reply
) -> None:
    fake.script(OPENAI.stream_path, rejection)
    assert openai.read().is_complete
    assert openai.read(stream_options={"include_usage": True}).is_complete
    assert ["stream_options" in request.body for request in fake.received] == [True, False, False]
    assert len(set(ports(fake))) == 1


def test_a_request_that_is_rejected_for_another_field_is_not_sent_again(
    openai: AdapterRunner, fake: FakeProvider
) -> None:
    fake.script(OPENAI.stream_path, Reply(400, {"error": {"message": "bad top_p", "param": "top_p"}}))
    assert openai.read(top_p=2).kind is errors.FailureKind.REQUEST_REJECTED
    assert openai.read().is_complete
    assert ["stream_options" in request.body for request in fake.received] == [True, True]


def test_a_server_that_rejects_the_request_with_and_without_stream_options_gets_it_twice(
    openai: AdapterRunner, fake: FakeProvider
) -> None:
    fake.always(OPENAI.stream_path, REJECTIONS[0])
    assert openai.read().kind is errors.FailureKind.CANDIDATE_UNSUITABLE
    assert len(fake.received) == 2


@pytest.mark.parametrize("words", ["max_tokens is too large", "x"])
def test_a_rejected_output_cap_of_the_bridge_is_not_a_rejected_request(
    openai: AdapterRunner, fake: FakeProvider, words: str
) -> None:
    rejection = Reply(400, {"error": {"message": words, "param": "max_tokens"}})
    fake.script(OPENAI.stream_path, rejection, rejection)
    assert openai.read(cap=10).kind is errors.FailureKind.OUTPUT_CAP_REFUSED
    assert openai.read(max_tokens=10).kind is errors.FailureKind.REQUEST_REJECTED
    assert len(fake.received) == 2


# Ollama's wire format


def test_nothing_after_ollamas_last_line_is_read(ollama: AdapterRunner, fake: FakeProvider) -> None:
    for ending in ("closed", "silent"):
        fake.script(
            OLLAMA.stream_path,
            replace(OLLAMA.streams([*OLLAMA.tokens("x"), *OLLAMA.end, ndjson({"error": "x"})], ending)),
        )
        result = ollama.read(timeout_s=60)
        assert result.text == "x"
        assert result.is_complete


def test_ollamas_tool_calls_get_ids_and_indexes(ollama: AdapterRunner, fake: FakeProvider) -> None:
    calls = [{"function": {"name": name, "arguments": {"at": name}}} for name in ("a", "b", "c")]
    pieces = [
        ndjson({"message": {"role": "assistant", "content": "", "tool_calls": some}, "done": False})
        for some in (calls[:2], calls[2:])
    ]
    fake.script(OLLAMA.stream_path, OLLAMA.streams([*pieces, *OLLAMA.end]))
    result = ollama.read()
    made = [made for one in result.chunks for made in chunk_body(one)["choices"][0]["delta"].get("tool_calls", ())]
    assert [(one["index"], one["function"]["name"]) for one in made] == [(0, "a"), (1, "b"), (2, "c")]
    assert [json.loads(one["function"]["arguments"]) for one in made] == [{"at": name} for name in "abc"]
    assert len({one["id"] for one in made}) == 3
    assert chunk_body(result.chunks[-1])["choices"][0]["finish_reason"] == "tool_calls"


def test_ollamas_thinking_is_progress_and_done_reason_length_a_finish_reason(
    ollama: AdapterRunner, fake: FakeProvider
) -> None:
    thinking = ndjson({"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False})
    empty = ndjson({"message": {"role": "assistant", "content": ""}, "done": False})
    end = ndjson({**ollama_chat(""), "done_reason": "length"})
    fake.script(OLLAMA.stream_path, OLLAMA.streams([empty, thinking, end]))
    result = ollama.read()
    assert [one.is_progress for one in result.chunks] == [False, True, True]
    assert chunk_body(result.chunks[1])["choices"][0]["delta"]["reasoning_content"] == "hm"
    assert chunk_body(result.chunks[-1])["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_prompt_that_ollama_has_cut_is_a_failure_at_the_end(
    ollama: AdapterRunner,
    fake: FakeProvider,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    end = {**ollama_chat("x"), "prompt_eval_count": 4096}
    fake.script(
        OLLAMA.stream_path, OLLAMA.streams([*OLLAMA.tokens("x"), ndjson(end)]) if is_streamed else Reply(body=end)
    )
    result = ollama.read()
    assert result.kind is errors.FailureKind.CONTEXT_LENGTH_EXCEEDED
    assert result.failure.usage == Usage(4096, 4)
    assert all(one.state is AnswerState.OPEN for one in result.chunks)


def test_an_answer_of_ollama_without_counts_has_no_usage(ollama: AdapterRunner, fake: FakeProvider) -> None:
    end = ndjson({"message": {"content": ""}, "done": True})
    fake.script(OLLAMA.stream_path, OLLAMA.streams([*OLLAMA.tokens("x"), end]))
    result = ollama.read()
    assert result.usage is None
    assert result.is_complete
