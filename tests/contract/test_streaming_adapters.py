"""One suite for every wire format, over real HTTP: an answer as it comes, and every way in which it does not."""

import asyncio
import gc
import itertools
import json
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers import ChatCall, ChatChunk, Provider, make_provider
from sekha_llm_bridge.providers.base import AnswerState
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.usage import Usage
from tests.contract.test_provider_adapters import ECHOES, FAILURES, PROMPT, SECRET
from tests.fakes.leftovers import left_over, quick_collections
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
from tests.fakes.settings import chat_model, provider

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

T = TypeVar("T")
Parts = list[bytes | threading.Event]
Ending = Literal["whole", "closed", "reset", "silent"]
WORDS = ["Hel", "lo, ", "wörld ", "☃🎉"]
PATIENCE_S = 10
DONE = b"data: [DONE]\n\n"
FINISH = chunk({}, finish="stop")
BILL = sse({"choices": [], "usage": chat_completion("")["usage"]})


@dataclass(frozen=True)
class Wire:
    """One wire format: its type, base path and the path of its chat, and what is sent there."""

    provider_type: str
    base: str
    path: str
    content_type: str
    token: Callable[[str], bytes]
    end: tuple[bytes, ...]
    usage: Usage
    whole: Callable[[str], Mapping[str, object]]
    event: Callable[[object], bytes]

    def tokens(self, *texts: str) -> Parts:
        return [self.token(text) for text in texts]

    def streams(self, parts: Iterable[bytes | threading.Event], ending: Ending = "whole", coding: str = "") -> Reply:
        headers = {"content-encoding": coding} if coding else {}
        return Reply(headers=headers, stream=Stream(parts, ending=ending, content_type=self.content_type))


OPENAI = Wire(
    "openai",
    "/v1",
    "/v1/chat/completions",
    "text/event-stream; charset=utf-8",
    lambda text: chunk({"content": text}),
    (FINISH, BILL, DONE),
    Usage(11, 7, cached_tokens=2),
    lambda text: {**chat_completion(text)},
    sse,
)
OLLAMA = Wire(
    "ollama",
    "",
    "/api/chat",
    "application/x-ndjson",
    lambda text: ndjson({"message": {"role": "assistant", "content": text}, "done": False}),
    (ndjson(ollama_chat("")),),
    Usage(5, 4),
    ollama_chat,
    ndjson,
)


@dataclass(frozen=True)
class Told:
    """What came of a stream, and what it ended with."""

    chunks: list[ChatChunk]
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
        return "".join(choice["delta"].get("content") or "" for one in self.chunks for choice in one.body["choices"])

    @property
    def usage(self) -> Usage | None:
        return next((one.usage for one in reversed(self.chunks) if one.usage is not None), None)

    @property
    def is_whole(self) -> bool:
        return self.error is None and self.chunks[-1].state is not AnswerState.OPEN


class Bench:
    """The adapter under test on a loop of its own, which tolerates nothing that is left over."""

    def __init__(self, runner: asyncio.Runner, adapter: Provider) -> None:
        self._runner = runner
        self._adapter = adapter

    def run(self, what: Callable[[Provider], Awaitable[T]]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE_S):
                return await what(self._adapter)

        return self._runner.run(bounded())

    def read(
        self,
        *,
        cap: int | None = None,
        timeout_s: float = 5,
        seen: Callable[[int], None] = lambda count: None,
        **request: Any,
    ) -> Told:
        """A whole call; `seen` learns how many chunks there are by now, from none on."""

        async def reading(adapter: Provider) -> Told:
            chunks: list[ChatChunk] = []
            seen(0)
            try:
                async for one in adapter.stream(call(cap, **request), timeout_s=timeout_s):
                    chunks.append(one)
                    seen(len(chunks))
            except errors.ProviderError as exc:
                return Told(chunks, exc)
            return Told(chunks)

        return self.run(reading)


def call(cap: int | None = None, **request: Any) -> ChatCall:
    return ChatCall("m", {"messages": [{"role": "user", "content": PROMPT}], **request}, cap, 4096)


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Each test looks for what it left over, and only for that."""
    with quick_collections():
        yield


@pytest.fixture(params=[OPENAI, OLLAMA], ids=lambda wire: wire.provider_type)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def _bench(fake: FakeProvider, wire: Wire, kind: str = "") -> Iterator[Bench]:
    kind, base_url = kind or wire.provider_type, fake.url + wire.base
    fields = provider("p", chat_model("m"), provider_type=kind, base_url=base_url, api_key=SECRET)
    config = ProviderConfig.model_validate({**fields, "headers": {"X-Extra": "more"}})
    http, faults = JsonHttp(SystemClock()), list[Mapping[str, Any]]()
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        yield Bench(runner, make_provider(config, http, SystemClock()))
        assert runner.run(left_over()) == []
        runner.run(http.aclose())
    gc.collect()
    assert faults == []


@pytest.fixture
def bench(wire: Wire, fake: FakeProvider) -> Iterator[Bench]:
    """Every wire format in turn."""
    yield from _bench(fake, wire)


@pytest.fixture
def openai(fake: FakeProvider) -> Iterator[Bench]:
    """OpenAI's alone."""
    yield from _bench(fake, OPENAI)


@pytest.fixture
def ollama(fake: FakeProvider) -> Iterator[Bench]:
    """Ollama's alone."""
    yield from _bench(fake, OLLAMA)


def sent(fake: FakeProvider, wire: Wire) -> Received:
    return fake.calls(wire.path)[-1]


# A whole answer


def test_a_whole_answer_comes_in_order_with_the_providers_usage(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    fake.script(wire.path, wire.streams([*wire.tokens(*WORDS), *wire.end]))
    told = bench.read()
    texts = [choice["delta"].get("content") for one in told.chunks for choice in one.body["choices"]]
    assert [text for text in texts if text] == WORDS
    assert told.chunks[0].body["choices"][0]["delta"]["role"] == "assistant"
    assert [one.is_progress for one in told.chunks[:4]] == [True] * 4
    finishes = [choice["finish_reason"] for one in told.chunks for choice in one.body["choices"]]
    assert finishes == [None] * 4 + ["stop"]
    assert told.usage == wire.usage
    assert told.is_whole
    assert {one.body["id"] for one in told.chunks} == {told.chunks[0].body["id"]}
    assert {one.body["model"] for one in told.chunks} == {"m"}
    assert all("usage" not in one.body for one in told.chunks)


def test_each_token_is_given_before_the_provider_sends_the_next(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    gates = [threading.Event() for _ in WORDS]
    parts = [part for gate, word in zip(gates, WORDS, strict=True) for part in (gate, wire.token(word))]
    fake.script(wire.path, wire.streams([*parts, *wire.end]))
    told = bench.read(timeout_s=2, seen=lambda count: gates[count].set() if count < len(gates) else None)
    assert told.text == "".join(WORDS)
    assert told.is_whole


def test_bytes_that_are_cut_anywhere_make_the_same_answer(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    body = b"".join(part for part in (*wire.tokens(*WORDS), *wire.end) if isinstance(part, bytes))
    fake.script(wire.path, wire.streams([bytes([byte]) for byte in body]))
    told = bench.read()
    assert told.text == "".join(WORDS)
    assert told.usage == wire.usage
    assert told.is_whole


def test_an_answer_that_comes_at_once_although_a_stream_was_asked_for_is_one_chunk(
    bench: Bench, wire: Wire, fake: FakeProvider
) -> None:
    fake.script(wire.path, Reply(body=wire.whole("Hello, world.")))
    told = bench.read()
    (only,) = told.chunks
    assert only.body["choices"][0]["delta"] == {"role": "assistant", "content": "Hello, world."}
    assert only.body["choices"][0]["finish_reason"] == "stop"
    assert only.usage == wire.usage
    assert told.is_whole


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZip"])
def test_a_compressed_answer_is_read_as_it_comes(bench: Bench, wire: Wire, fake: FakeProvider, coding: str) -> None:
    press = zlib.compressobj(wbits=zlib.MAX_WBITS if coding == "deflate" else zlib.MAX_WBITS | 16)
    gate = threading.Event()
    first = press.compress(wire.token("Hello")) + press.flush(zlib.Z_SYNC_FLUSH)
    rest = press.compress(b"".join(wire.end)) + press.flush()
    fake.script(wire.path, wire.streams([first, gate, rest], coding=coding))
    told = bench.read(timeout_s=2, seen=lambda count: gate.set() if count else None)
    assert told.text == "Hello"
    assert told.usage == wire.usage
    assert told.is_whole
    assert sent(fake, wire).headers["accept-encoding"] == "identity"


def test_an_answer_in_an_unknown_coding_is_malformed(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    fake.script(wire.path, wire.streams([*wire.tokens("x"), *wire.end], coding="br"))
    told = bench.read()
    assert told.kind is errors.FailureKind.MALFORMED_ANSWER
    assert told.chunks == []


# What is sent


def test_key_extra_headers_and_the_wish_for_a_stream_are_sent(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    bench.read()
    request = sent(fake, wire)
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["x-extra"] == "more"
    assert request.headers["accept"] == "text/event-stream"
    assert request.body["stream"] is True
    assert request.body["model"] == "m"


def test_temperature_zero_stays_zero(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    bench.read(temperature=0)
    body = sent(fake, wire).body
    assert body.get("options", body)["temperature"] == 0


def test_the_lowest_output_limit_holds(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    bench.read(cap=10, max_tokens=50)
    body = sent(fake, wire).body
    assert (body.get("max_tokens") or body["options"]["num_predict"]) == 10


# An answer that ends before its end

CUTS: list[tuple[Ending, errors.FailureKind]] = [
    ("whole", errors.FailureKind.MALFORMED_ANSWER),
    ("closed", errors.FailureKind.CONNECTION_LOST),
    ("reset", errors.FailureKind.CONNECTION_LOST),
    ("silent", errors.FailureKind.TIMEOUT),
]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize(("ending", "expected"), CUTS, ids=[ending for ending, _ in CUTS])
def test_an_answer_that_was_cut_never_ends_like_a_whole_one(
    bench: Bench, wire: Wire, fake: FakeProvider, ending: Ending, expected: errors.FailureKind, count: int
) -> None:
    cut = threading.Event()  # a reset would take with it what was sent and not read
    fake.script(wire.path, wire.streams([*wire.tokens(*WORDS[:count]), cut], ending))
    timeout_s = 0.3 if ending == "silent" else 5
    told = bench.read(timeout_s=timeout_s, seen=lambda seen: cut.set() if seen == count else None)
    assert told.kind is expected
    assert told.failure.may_be_billed
    assert told.text == "".join(WORDS[:count])
    assert all(one.state is AnswerState.OPEN for one in told.chunks)


@pytest.mark.parametrize("ending", ["whole", "closed"])
def test_an_event_that_was_cut_in_its_middle_is_not_passed_on(
    bench: Bench, wire: Wire, fake: FakeProvider, ending: Ending
) -> None:
    fake.script(wire.path, wire.streams([*wire.tokens("Hello"), wire.end[0][:-3]], ending))
    told = bench.read()
    assert told.error is not None
    assert told.text == "Hello"


@pytest.mark.parametrize(("ending", "is_whole"), [("whole", True), ("closed", False), ("reset", False)])
def test_a_last_line_without_its_end_counts_where_the_stream_has_ended_as_it_should(
    bench: Bench, wire: Wire, fake: FakeProvider, ending: Ending, *, is_whole: bool
) -> None:
    fake.script(wire.path, wire.streams([*wire.tokens("Hello"), wire.end[0].rstrip()], ending))
    told = bench.read()
    assert (told.error is None) == is_whole


def test_a_stream_of_nothing_is_malformed(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    fake.script(wire.path, wire.streams([b"\n\n"]))
    told = bench.read()
    assert told.kind is errors.FailureKind.MALFORMED_ANSWER
    assert told.chunks == []


# An answer that fails


@pytest.mark.parametrize(("reply", "expected"), FAILURES, ids=lambda value: getattr(value, "__name__", None))
def test_every_failure_before_the_stream_becomes_its_own_error(
    bench: Bench, wire: Wire, fake: FakeProvider, reply: Reply, expected: errors.FailureKind
) -> None:
    fake.script(wire.path, reply)
    told = bench.read()
    assert told.kind is expected
    assert told.chunks == []
    assert SECRET not in str(told.error)
    assert len(fake.received) == 1


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)])
def test_retry_after_is_read_in_both_its_forms(
    bench: Bench, wire: Wire, fake: FakeProvider, header: str, seconds: float | None
) -> None:
    fake.script(wire.path, Reply(429, {}, headers={"retry-after": header}))
    failure = bench.read().failure
    assert failure.kind is errors.FailureKind.RATE_LIMITED
    assert failure.retry_after_s == seconds


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/x-ndjson"])
def test_an_error_status_is_an_error_however_its_body_is_called(
    bench: Bench, wire: Wire, fake: FakeProvider, content_type: str
) -> None:
    fake.script(wire.path, Reply(429, stream=Stream([b'{"error": {"message": "x"}}'], content_type=content_type)))
    assert bench.read().kind is errors.FailureKind.RATE_LIMITED


def test_an_error_status_is_known_although_its_body_cannot_be_read(
    bench: Bench, wire: Wire, fake: FakeProvider
) -> None:
    fake.script(wire.path, Reply(401, raw=b"\x00", headers={"content-encoding": "br"}))
    assert bench.read().kind is errors.FailureKind.CREDENTIALS_REJECTED


def test_a_redirect_is_not_followed(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    fake.script(wire.path, Reply(307, {}, headers={"location": fake.url + wire.path}))
    assert bench.read().kind is errors.FailureKind.MALFORMED_ANSWER
    assert len(fake.received) == 1


def test_a_refused_connection_is_told_from_a_broken_one(bench: Bench, fake: FakeProvider) -> None:
    fake.stop()
    assert bench.read().kind is errors.FailureKind.CONNECT_FAILED


def test_a_provider_that_never_begins_is_a_timeout(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    silence = Reply(hang=True)
    fake.script(wire.path, silence)
    assert bench.read(timeout_s=0.2).kind is errors.FailureKind.TIMEOUT
    assert silence.abandoned.wait(PATIENCE_S)


IN_BAND = [
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


@pytest.mark.parametrize(("error", "expected"), IN_BAND, ids=str)
def test_an_error_within_the_stream_is_its_own_error_and_may_be_billed(
    bench: Bench, wire: Wire, fake: FakeProvider, error: object, expected: errors.FailureKind
) -> None:
    fake.script(wire.path, wire.streams([*wire.tokens("Hello"), wire.event({"error": error}), *wire.end]))
    told = bench.read()
    assert told.kind is expected
    assert told.failure.may_be_billed
    assert told.text == "Hello"


def test_an_error_in_place_of_the_first_token_is_an_error(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    fake.script(wire.path, wire.streams([wire.event({"error": "x"}), *wire.end]))
    told = bench.read()
    assert told.kind is errors.FailureKind.SERVER_ERROR
    assert told.chunks == []


@pytest.mark.parametrize("echo", ECHOES)
def test_a_providers_own_words_within_a_stream_are_never_passed_on(
    bench: Bench, wire: Wire, fake: FakeProvider, echo: str
) -> None:
    said = {"message": echo, "code": echo, "type": echo, "param": echo}
    fake.script(wire.path, wire.streams([*wire.tokens("x"), wire.event({"error": said})]))
    failure = bench.read().failure
    assert failure.message == "the provider put an error into its answer"


MALFORMED: dict[str, tuple[bytes, bytes]] = {
    "no JSON": (b"data: {no\n\n", b"{no\n"),
    "words of the prompt's": (b"data: " + PROMPT.encode() + b"\n\n", PROMPT.encode() + b"\n"),
    "no UTF-8": (b'data: {"x": "\xff"}\n\n', b'{"x": "\xff"}\n'),
    "a list": (sse([]), ndjson([])),
    "a string": (sse("x"), ndjson("x")),
    "null": (sse(None), ndjson(None)),
    "something of another shape": (sse({"choices": "x"}), ndjson({"message": "x"})),
    "content that is a number": (chunk({"content": 5}), ndjson({"message": {"content": 5}})),
    "an end of another shape": (
        sse({"choices": [{"delta": [1], "finish_reason": "stop"}]}),
        ndjson({"message": [1], "done": True}),
    ),
    "an end with content that is none": (
        chunk({"content": {"a": 1}}, finish="stop"),
        ndjson({"message": {"content": {"a": 1}}, "done": True}),
    ),
    "tool calls that are a number": (chunk({"tool_calls": 5}), ndjson({"message": {"tool_calls": 5}})),
    "a tool call of something else": (
        chunk({"tool_calls": [{"function": "f"}]}, finish="tool_calls"),
        ndjson({"message": {"tool_calls": [{"function": "f"}]}, "done": True}),
    ),
    "a tool call without anything": (chunk({"tool_calls": [None]}), ndjson({"message": {"tool_calls": [{}]}})),
    "nested too deeply to be read": (
        b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n\n",
        b"[" * 5000 + b"]" * 5000 + b"\n",
    ),
}


@pytest.mark.parametrize(("of_openai", "of_ollama"), MALFORMED.values(), ids=MALFORMED)
def test_an_event_of_another_shape_is_malformed_not_a_crash_and_not_the_end(
    bench: Bench, wire: Wire, fake: FakeProvider, of_openai: bytes, of_ollama: bytes
) -> None:
    bad = of_openai if wire is OPENAI else of_ollama
    fake.script(wire.path, wire.streams([*wire.tokens("Hello"), bad, *wire.end]))
    told = bench.read()
    assert told.kind is errors.FailureKind.MALFORMED_ANSWER
    assert told.failure.may_be_billed
    assert told.text == "Hello"
    assert "submarine" not in str(told.error)


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
    ],
    ids=str,
)
def test_an_answer_at_once_of_another_shape_is_malformed(
    bench: Bench, wire: Wire, fake: FakeProvider, body: dict[str, Any]
) -> None:
    fake.script(wire.path, Reply(body=body))
    told = bench.read()
    assert told.kind is errors.FailureKind.MALFORMED_ANSWER
    assert told.chunks == []


# A caller that goes


def test_closing_in_mid_stream_tells_the_provider_at_once(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    reply = wire.streams(wire.tokens("x"), "silent")
    fake.script(wire.path, reply)

    async def leave(adapter: Provider) -> bool:
        chunks = adapter.stream(call(), timeout_s=60)
        await anext(chunks)
        await chunks.aclose()
        return await noticed(reply)

    assert bench.run(leave)


@pytest.mark.parametrize("count", [0, 1])
def test_cancelling_whoever_reads_tells_the_provider_at_once(
    bench: Bench, wire: Wire, fake: FakeProvider, count: int
) -> None:
    asked = threading.Event()

    def parts() -> Iterator[bytes | threading.Event]:
        asked.set()
        yield from wire.tokens(*WORDS[:count])

    reply = wire.streams(parts(), "silent")
    fake.script(wire.path, reply)

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
        assert await asyncio.to_thread(asked.wait, PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await noticed(reply)

    assert bench.run(cancel)


def test_a_time_limit_around_the_reading_tells_the_provider(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    reply = wire.streams(wire.tokens("x"), "silent")
    fake.script(wire.path, reply)

    async def limited(adapter: Provider) -> bool:
        chunks = adapter.stream(call(), timeout_s=60)
        await anext(chunks)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(chunks)
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
        return await noticed(reply)

    assert bench.run(limited)


def test_a_stream_that_nobody_began_to_read_is_never_asked_for(bench: Bench, fake: FakeProvider) -> None:
    async def close(adapter: Provider) -> None:
        await adapter.stream(call(), timeout_s=5).aclose()

    bench.run(close)
    assert fake.received == []


async def noticed(reply: Reply) -> bool:
    """Whether the provider of a silent stream has learnt that nobody listens any more."""
    assert reply.stream is not None
    return await asyncio.to_thread(reply.stream.abandoned.wait, PATIENCE_S)


# Connections


def ports(fake: FakeProvider) -> list[int]:
    return [request.peer_port for request in fake.received]


def test_after_a_whole_answer_the_same_connection_serves_the_next(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    for reply in (None, Reply(body=wire.whole("x")), Reply(500, {}), None):
        if reply is not None:
            fake.script(wire.path, reply)
        bench.read()
    assert len(ports(fake)) == 4
    assert len(set(ports(fake))) == 1


BREAKS: list[Callable[[Wire], Reply]] = [
    lambda wire: wire.streams(wire.tokens("x"), "closed"),
    lambda wire: wire.streams(wire.tokens("x"), "reset"),
    lambda wire: wire.streams(wire.tokens("x"), "silent"),
    lambda wire: wire.streams([*wire.tokens("x"), wire.event({"error": "x"})], "silent"),
    lambda wire: wire.streams([*wire.tokens("x"), b"{no\n\n", wire.event([])], "silent"),
]


@pytest.mark.parametrize("broken", BREAKS)
def test_after_a_broken_answer_its_connection_is_not_used_again(
    bench: Bench, wire: Wire, fake: FakeProvider, broken: Callable[[Wire], Reply]
) -> None:
    fake.script(wire.path, broken(wire))
    assert bench.read(timeout_s=0.3).error is not None
    assert bench.read().is_whole
    first, second = ports(fake)
    assert first != second


def test_after_a_caller_has_gone_its_connection_is_not_used_again(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    async def leave(adapter: Provider) -> None:
        chunks = adapter.stream(call(), timeout_s=5)
        await anext(chunks)
        await chunks.aclose()

    bench.run(leave)
    assert bench.read().is_whole
    first, second = ports(fake)
    assert first != second


def test_a_provider_that_lingers_after_the_end_holds_nobody_up(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    reply = wire.streams([*wire.tokens("Hello"), *wire.end], "silent")
    fake.script(wire.path, reply)
    told = bench.read(timeout_s=60)
    assert told.text == "Hello"
    assert told.usage == wire.usage
    assert told.is_whole
    assert bench.run(lambda adapter: noticed(reply))
    assert bench.read().is_whole
    first, second = ports(fake)
    assert first != second


def test_a_provider_that_talks_on_after_the_end_holds_nobody_up(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    talk = itertools.chain([*wire.tokens("Hello"), *wire.end], itertools.repeat(b"\n"))
    fake.script(wire.path, Reply(stream=Stream(talk, content_type=wire.content_type)))
    told = bench.read()
    assert told.text == "Hello"
    assert told.is_whole


def test_two_answers_at_once_do_not_mix(bench: Bench, wire: Wire, fake: FakeProvider) -> None:
    gate = threading.Event()
    fake.script(wire.path, wire.streams([*wire.tokens("a"), gate, *wire.tokens("b"), *wire.end]))

    async def both(adapter: Provider) -> tuple[str, str]:
        slow = adapter.stream(call(), timeout_s=5)
        told = Told([await anext(slow)])
        fake.script(wire.path, wire.streams([*wire.tokens("c", "d"), *wire.end]))
        other = Told([one async for one in adapter.stream(call(), timeout_s=5)])
        gate.set()
        told.chunks.extend([one async for one in slow])
        return told.text, other.text

    assert bench.run(both) == ("ab", "cd")


# What is particular to OpenAI's wire format


@pytest.mark.parametrize("rest", [[], [DONE], [BILL], [BILL, DONE], [b": bye\n\n", DONE]], ids=str)
def test_an_answer_is_whole_by_its_finish_reason_with_and_without_done(
    openai: Bench, fake: FakeProvider, rest: list[bytes]
) -> None:
    fake.script(OPENAI.path, OPENAI.streams([*OPENAI.tokens("Hello"), FINISH, *rest]))
    told = openai.read()
    assert told.text == "Hello"
    assert told.usage == (OPENAI.usage if BILL in rest else None)
    assert told.is_whole


@pytest.mark.parametrize("ending", ["whole", "closed", "reset", "silent"])
@pytest.mark.parametrize("before", [[], OPENAI.tokens("Hello"), [*OPENAI.tokens("Hello"), BILL]], ids=len)
def test_done_without_a_finish_reason_is_no_end(
    openai: Bench, fake: FakeProvider, before: Parts, ending: Ending
) -> None:
    fake.script(OPENAI.path, OPENAI.streams([*before, DONE], ending))
    told = openai.read(timeout_s=0.3 if ending == "silent" else 5)
    assert told.error is not None
    if ending != "reset":  # which may take with it what was sent before
        assert told.kind is errors.FailureKind.MALFORMED_ANSWER


@pytest.mark.parametrize("finishes", [1, 2])
def test_of_two_choices_both_must_have_ended(openai: Bench, fake: FakeProvider, finishes: int) -> None:
    said = [chunk({"content": "a"}, index=1), chunk({"content": "b"}, index=0)]
    ends = [chunk({}, finish="stop", index=index) for index in range(finishes)]
    fake.script(OPENAI.path, OPENAI.streams([*said, *ends, DONE]))
    told = openai.read(n=2)
    assert told.text == "ab"
    assert (told.error is None) == (finishes == 2)


AFTER_THE_END: dict[str, tuple[Parts, Ending]] = {
    "closed": ([], "closed"),
    "reset": ([], "reset"),
    "silent": ([], "silent"),
    "an error": ([sse({"error": {"message": "x", "code": 500}})], "whole"),
    "no JSON": ([b"data: {no\n\n"], "whole"),
    "a usage cut in its middle": ([BILL[:-9]], "closed"),
    "another shape": ([sse({"choices": [5]})], "whole"),
}


@pytest.mark.parametrize(("after", "ending"), AFTER_THE_END.values(), ids=AFTER_THE_END)
def test_what_breaks_after_the_end_takes_only_the_bill(
    openai: Bench, fake: FakeProvider, after: Parts, ending: Ending
) -> None:
    read = threading.Event()
    fake.script(OPENAI.path, OPENAI.streams([*OPENAI.tokens("Hello"), FINISH, read, *after], ending))
    told = openai.read(
        timeout_s=0.3 if ending == "silent" else 5, seen=lambda count: read.set() if count == 2 else None
    )
    assert told.text == "Hello"
    assert told.usage is None
    assert told.is_whole


def test_an_error_event_with_the_usage_of_what_was_done_is_billed(openai: Bench, fake: FakeProvider) -> None:
    usage = chat_completion("")["usage"]
    said = {"error": {"message": "x", "code": 502}, "choices": [{"delta": {}, "finish_reason": "error"}]}
    fake.script(OPENAI.path, OPENAI.streams([*OPENAI.tokens("x"), sse({**said, "usage": usage})]))
    failure = openai.read().failure
    assert failure.kind is errors.FailureKind.SERVER_ERROR
    assert failure.usage == OPENAI.usage


def test_a_choice_that_ends_with_an_error_is_broken(openai: Bench, fake: FakeProvider) -> None:
    fake.script(OPENAI.path, OPENAI.streams([*OPENAI.tokens("x"), chunk({}, finish="error"), DONE]))
    told = openai.read()
    assert told.kind is errors.FailureKind.MALFORMED_ANSWER
    assert all(one.state is AnswerState.OPEN for one in told.chunks)


def test_usage_in_every_chunk_is_counted_in_every_chunk(openai: Bench, fake: FakeProvider) -> None:
    counts = [{"prompt_tokens": 3, "completion_tokens": count} for count in (1, 2)]
    parts: Parts = [chunk({"content": "x"}, usage=counts[0]), chunk({}, finish="stop", usage=counts[1]), DONE]
    fake.script(OPENAI.path, OPENAI.streams(parts))
    told = openai.read()
    assert [(one.usage, one.provider_usage) for one in told.chunks] == [
        (Usage(3, 1), counts[0]),
        (Usage(3, 2), counts[1]),
    ]


def test_carriage_returns_comments_and_other_fields_change_nothing(openai: Bench, fake: FakeProvider) -> None:
    events = b"".join([b": OPENROUTER PROCESSING\n\n", b"event: x\nid: 1\n", chunk({"content": "Hello"}), FINISH, DONE])
    fake.script(
        OPENAI.path, OPENAI.streams([b"\xef\xbb\xbf" + events.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")])
    )
    told = openai.read()
    assert told.text == "Hello"
    assert told.is_whole


@pytest.mark.parametrize("wish", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}], ids=str)
def test_the_usage_is_always_asked_for(openai: Bench, fake: FakeProvider, wish: dict[str, Any]) -> None:
    openai.read(**wish)
    assert sent(fake, OPENAI).body["stream_options"] == {"include_usage": True}


def test_the_callers_other_stream_options_are_kept(openai: Bench, fake: FakeProvider) -> None:
    openai.read(stream_options={"include_obfuscation": False})
    assert sent(fake, OPENAI).body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


REFUSALS = [
    Reply(400, {"error": {"message": "Unknown field: stream_options"}}),
    Reply(400, {"error": {"message": "x", "param": "stream_options"}}),
    Reply(400, {"error": {"message": "x", "param": "stream_options.include_usage"}}),
    Reply(422, {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}}),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda reply: str(reply.body))
def test_a_server_that_refuses_to_be_asked_for_its_usage_is_never_asked_again(
    openai: Bench, fake: FakeProvider, refusal: Reply
) -> None:
    fake.script(OPENAI.path, refusal)
    assert openai.read().is_whole
    assert openai.read(stream_options={"include_usage": True}).is_whole
    assert ["stream_options" in request.body for request in fake.received] == [True, False, False]
    assert len(set(ports(fake))) == 1


def test_a_request_that_is_refused_for_something_else_is_not_sent_again(openai: Bench, fake: FakeProvider) -> None:
    fake.script(OPENAI.path, Reply(400, {"error": {"message": "bad top_p", "param": "top_p"}}))
    assert openai.read(top_p=2).kind is errors.FailureKind.REQUEST_REJECTED
    assert openai.read().is_whole
    assert ["stream_options" in request.body for request in fake.received] == [True, True]


def test_a_server_that_refuses_both_ways_is_asked_twice_only(openai: Bench, fake: FakeProvider) -> None:
    fake.always(OPENAI.path, REFUSALS[0])
    assert openai.read().kind is errors.FailureKind.REQUEST_REJECTED
    assert len(fake.received) == 2


@pytest.mark.parametrize("words", ["max_tokens is too large", "x"])
def test_a_cap_of_the_bridges_own_that_is_refused_is_not_the_callers_fault(
    openai: Bench, fake: FakeProvider, words: str
) -> None:
    refusal = Reply(400, {"error": {"message": words, "param": "max_tokens"}})
    fake.script(OPENAI.path, refusal, refusal)
    assert openai.read(cap=10).kind is errors.FailureKind.OUTPUT_CAP_REFUSED
    assert openai.read(max_tokens=10).kind is errors.FailureKind.REQUEST_REJECTED
    assert len(fake.received) == 2


# What is particular to Ollama's


def test_nothing_after_ollamas_last_piece_is_waited_for_or_read(ollama: Bench, fake: FakeProvider) -> None:
    for ending in ("closed", "silent"):
        fake.script(
            OLLAMA.path, replace(OLLAMA.streams([*OLLAMA.tokens("x"), *OLLAMA.end, ndjson({"error": "x"})], ending))
        )
        told = ollama.read(timeout_s=60)
        assert told.text == "x"
        assert told.is_whole


def test_ollamas_tool_calls_come_with_ids_and_indexes_of_their_own(ollama: Bench, fake: FakeProvider) -> None:
    calls = [{"function": {"name": name, "arguments": {"at": name}}} for name in ("a", "b", "c")]
    pieces = [
        ndjson({"message": {"role": "assistant", "content": "", "tool_calls": some}, "done": False})
        for some in (calls[:2], calls[2:])
    ]
    fake.script(OLLAMA.path, OLLAMA.streams([*pieces, *OLLAMA.end]))
    told = ollama.read()
    made = [made for one in told.chunks for made in one.body["choices"][0]["delta"].get("tool_calls", ())]
    assert [(one["index"], one["function"]["name"]) for one in made] == [(0, "a"), (1, "b"), (2, "c")]
    assert [json.loads(one["function"]["arguments"]) for one in made] == [{"at": name} for name in "abc"]
    assert len({one["id"] for one in made}) == 3
    assert told.chunks[-1].body["choices"][0]["finish_reason"] == "tool_calls"


def test_ollamas_thinking_is_progress_and_its_length_a_finish_reason(ollama: Bench, fake: FakeProvider) -> None:
    thinking = ndjson({"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False})
    empty = ndjson({"message": {"role": "assistant", "content": ""}, "done": False})
    end = ndjson({**ollama_chat(""), "done_reason": "length"})
    fake.script(OLLAMA.path, OLLAMA.streams([empty, thinking, end]))
    told = ollama.read()
    assert [one.is_progress for one in told.chunks] == [False, True, True]
    assert told.chunks[1].body["choices"][0]["delta"]["reasoning_content"] == "hm"
    assert told.chunks[-1].body["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_prompt_that_ollama_has_cut_fails_at_the_end(
    ollama: Bench,
    fake: FakeProvider,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    end = {**ollama_chat("x"), "prompt_eval_count": 4096}
    fake.script(OLLAMA.path, OLLAMA.streams([*OLLAMA.tokens("x"), ndjson(end)]) if is_streamed else Reply(body=end))
    told = ollama.read()
    assert told.kind is errors.FailureKind.CONTEXT_LENGTH_EXCEEDED
    assert told.failure.usage == Usage(4096, 4)
    assert all(one.state is AnswerState.OPEN for one in told.chunks)


def test_an_ollama_that_counts_nothing_has_no_usage(ollama: Bench, fake: FakeProvider) -> None:
    end = ndjson({"message": {"content": ""}, "done": True})
    fake.script(OLLAMA.path, OLLAMA.streams([*OLLAMA.tokens("x"), end]))
    told = ollama.read()
    assert told.usage is None
    assert told.is_whole
