"""A reply as it comes off the wire: when it is whole, what of it can be read, and what becomes of its connection."""

import asyncio
import gc
import gzip
import warnings
import zlib
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx
import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.connections import TRANSPORT_ERRORS, Connections, StreamedReply
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.leftovers import left_over, quick_collections
from tests.fakes.wire import reply, wire

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

TEXT = "data: é☃🎉\n\n".encode()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Runs it on a loop that tolerates no failure that nobody hears of, and nothing that is left over."""
    faults: list[Mapping[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        async with asyncio.timeout(10):
            await scenario
        assert await left_over() == []

    asyncio.run(bounded())
    gc.collect()
    assert faults == []


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Each test looks for what it left over, and only for that."""
    with quick_collections():
        yield


@asynccontextmanager
async def connections(clock: Clock | None = None) -> AsyncIterator[Connections]:
    """Closed again."""
    made = Connections(clock or SystemClock())
    yield made
    await made.aclose()


def streamed(
    made: Connections, url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 5
) -> AbstractAsyncContextManager[StreamedReply]:
    return made.stream("POST", url, content=b"{}", headers=headers or {}, timeout_s=timeout_s)


async def read(made: Connections, url: str, *, timeout_s: float = 5) -> bytes:
    async with streamed(made, url, timeout_s=timeout_s) as answer:
        return b"".join([part async for part in answer.parts])


@dataclass(slots=True)
class Talker:
    """A server whose replies come part by part, each when the one before has been asked for by `go`; the first part is
    there at once. It never ends one by itself.
    """

    parts: list[bytes]
    port: int = 0
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        self.asked.set()
        with suppress(ConnectionError):
            for part in self.parts:
                await self.go.acquire()
                writer.write(part)
                await writer.drain()
            await reader.read()
        self.gone.set()
        writer.close()


@asynccontextmanager
async def talker(*parts: bytes, headers: tuple[str, ...] = ()) -> AsyncIterator[Talker]:
    """A `Talker` that listens meanwhile; its parts are HTTP chunks."""
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, "transfer-encoding: chunked", "", ""]).encode()
    first, *rest = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    made = Talker([head + first, *rest])
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def chunked(*parts: bytes, headers: str = "", end: bytes = b"0\r\n\r\n") -> bytes:
    head = f"HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


WHOLE = {
    "with its length": reply(TEXT),
    "in chunks": chunked(TEXT[:7], TEXT[7:]),
    "in chunks with a trailer": chunked(TEXT, end=b"0\r\nx-checksum: 1\r\n\r\n"),
    "after a hint": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + chunked(TEXT),
    "until its connection ends": b"HTTP/1.1 200 OK\r\n\r\n" + TEXT,
    "in HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + TEXT,
    "gzip": reply(gzip.compress(TEXT), "Content-Encoding: GZip"),
    "deflate": reply(zlib.compress(TEXT), "content-encoding: deflate"),
    "gzip in single bytes": chunked(
        *[bytes([byte]) for byte in gzip.compress(TEXT)], headers="content-encoding: gzip\r\n"
    ),
    "not compressed after all": reply(TEXT, "content-encoding: identity"),
}


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE)
def test_a_reply_is_read_in_every_form(answer: bytes) -> None:
    async def scenario() -> None:
        async with connections() as made, wire(answer, then_close=True) as provider:
            assert await read(made, provider.url) == TEXT

    run(scenario())


def test_its_head_is_there_before_its_body_and_its_rest_can_be_had_at_once() -> None:
    async def scenario() -> None:
        headers = ("X-Name: one", "x-name: two")
        async with (
            connections() as made,
            talker(b"a", headers=headers) as provider,
            streamed(made, provider.url) as answer,
        ):
            assert answer.status == 200
            assert answer.header("x-name") == "one, two"
            assert answer.header("x-other") is None
        async with connections() as made, wire(chunked(b"a", b"b")) as server, streamed(made, server.url) as answer:
            assert await anext(answer.parts) == b"a"
            assert (await answer.read_all()).content == b"b"

    run(scenario())


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate"])
def test_each_part_is_given_before_the_next_is_sent(coding: str) -> None:
    texts = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n"]
    press = zlib.compressobj(wbits=zlib.MAX_WBITS | 16 if coding == "gzip" else zlib.MAX_WBITS)
    pressed = [press.compress(text) + press.flush(zlib.Z_SYNC_FLUSH) for text in texts]
    headers = (f"content-encoding: {coding}",)

    async def scenario() -> None:
        async with (
            connections() as made,
            talker(*(texts if coding == "identity" else pressed), headers=headers) as provider,
            streamed(made, provider.url) as answer,
        ):
            for text in texts:
                got = b""
                while got != text:
                    got += await anext(answer.parts)
                provider.go.release()

    run(scenario())


def test_a_stream_is_asked_for_uncompressed_unless_the_configuration_says_otherwise() -> None:
    async def scenario() -> None:
        async with connections() as made, wire(reply()) as provider:
            for headers in ({}, {"accept-encoding": "gzip"}):
                async with streamed(made, provider.url, headers):
                    pass
            first, second = (request.lower() for request in provider.requests)
            assert b"accept-encoding: identity\r\n" in first
            assert b"accept-encoding: gzip\r\n" in second
            assert first.count(b"accept-encoding:") == second.count(b"accept-encoding:") == 1

    run(scenario())


BROKEN = {
    "its length is not reached": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n" + TEXT,
        httpcore.RemoteProtocolError,
    ),
    "its last chunk is missing": (chunked(TEXT, end=b""), httpcore.RemoteProtocolError),
    "a chunk is cut": (chunked(TEXT, end=b"ff\r\nx"), httpcore.RemoteProtocolError),
    "a chunk is none": (chunked(TEXT, end=b"hello\r\n"), httpcore.RemoteProtocolError),
    "it is not compressed": (reply(TEXT, "content-encoding: gzip"), httpx.DecodingError),
    "it is compressed in another way": (reply(TEXT, "content-encoding: br"), httpx.DecodingError),
    "it is compressed twice": (reply(gzip.compress(TEXT), "content-encoding: deflate, gzip"), httpx.DecodingError),
    "there is none": (b"", httpcore.RemoteProtocolError),
    "it is no HTTP": (b"hello\r\n\r\n", httpcore.RemoteProtocolError),
}


@pytest.mark.parametrize(("answer", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_reply_that_breaks_off_is_a_failure_and_its_connection_is_closed(
    answer: bytes, expected: type[Exception]
) -> None:
    async def scenario() -> None:
        async with connections() as made, wire(answer, then_close=True) as provider:
            with pytest.raises(TRANSPORT_ERRORS) as caught:
                await read(made, provider.url)
            assert type(caught.value) is expected
            assert made._pools
            assert all(not pool.connections for pool in made._pools.values())

    run(scenario())


def test_a_compressed_reply_that_cannot_be_read_is_told_without_the_librarys_words() -> None:
    async def scenario() -> None:
        http = JsonHttp(SystemClock())
        async with wire(reply(TEXT, "content-encoding: gzip")) as provider:
            with raises_failure(errors.FailureKind.MALFORMED_ANSWER) as caught:
                async with http.stream(provider.url, payload={}, headers={}, timeout_s=5) as parts:
                    assert not isinstance(parts, dict)
                    async for _ in parts:
                        pass
        await http.aclose()
        assert str(caught.value) == "the provider's answer cannot be read (DecodingError)"

    run(scenario())


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
def test_an_error_in_an_unknown_coding_keeps_its_status(coding: str) -> None:
    async def scenario() -> None:
        answer = reply(b"\x00", f"content-encoding: {coding}", status="503 Service Unavailable")
        async with connections() as made, wire(answer) as provider, streamed(made, provider.url) as got:
            whole = await got.read_all()
            assert (whole.status, whole.content) == (503, b"\x00")

    run(scenario())


def test_silence_between_two_parts_is_a_timeout_and_ends_the_connection() -> None:
    async def scenario() -> None:
        async with connections() as made, talker(b"a", b"never") as provider:
            with pytest.raises(httpcore.ReadTimeout):
                await read(made, provider.url, timeout_s=0.1)
            provider.go.release()
            await provider.gone.wait()

    run(scenario())


def test_a_pause_that_is_shorter_than_the_time_limit_starts_it_anew() -> None:
    async def scenario() -> None:
        async with (
            connections() as made,
            talker(b"a", b"b", b"c", b"d") as provider,
            streamed(made, provider.url, timeout_s=0.5) as answer,
        ):
            for text in (b"a", b"b", b"c", b"d"):
                assert await anext(answer.parts) == text
                await asyncio.sleep(0.2)  # in all more than the limit
                provider.go.release()

    run(scenario())


class Mistake(Exception):
    """Of whoever reads."""


@pytest.mark.parametrize("parts_read", [0, 1])
def test_leaving_by_an_exception_closes_the_connection_at_once(parts_read: int) -> None:
    async def scenario() -> None:
        async with connections() as made, talker(b"a") as provider:
            with pytest.raises(Mistake):  # noqa: PT012 — where it is raised is the case
                async with streamed(made, provider.url) as answer:
                    for _ in range(parts_read):
                        await anext(answer.parts)
                    raise Mistake
            await provider.gone.wait()

    run(scenario())


def test_leaving_before_the_end_closes_the_connection_when_the_end_does_not_come() -> None:
    async def scenario() -> None:
        async with connections() as made, talker(b"a") as provider:
            async with streamed(made, provider.url) as answer:
                await anext(answer.parts)
            await provider.gone.wait()

    run(scenario())


def test_cancelling_whoever_reads_closes_the_connection_at_once() -> None:
    async def scenario() -> None:
        async with connections() as made, talker(b"a") as provider:
            reading = asyncio.create_task(read(made, provider.url))
            await provider.asked.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await provider.gone.wait()

    run(scenario())


def test_cancelling_whoever_waits_for_the_rest_is_not_swallowed() -> None:
    async def scenario() -> None:
        left = asyncio.Event()

        async def leave() -> None:
            async with streamed(made, provider.url) as answer:
                await anext(answer.parts)
                left.set()

        async with connections() as made, talker(b"a") as provider:
            leaving = asyncio.create_task(leave())
            await left.wait()
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await provider.gone.wait()

    run(scenario())


REUSABLE = {
    "with its length": reply(TEXT),
    "in chunks": chunked(TEXT[:5], TEXT[5:]),
    "compressed": reply(gzip.compress(TEXT), "content-encoding: gzip"),
    "an error": reply(b"{}", status="500 Internal Server Error"),
    "empty": reply(b""),
}


@pytest.mark.parametrize("reads", ["all", "one part", "nothing"])
@pytest.mark.parametrize("answer", REUSABLE.values(), ids=REUSABLE)
def test_the_connection_of_a_whole_reply_is_used_again_however_much_of_it_was_read(answer: bytes, reads: str) -> None:
    async def scenario() -> None:
        async with connections() as made, wire(answer) as provider:
            for _ in range(3):
                async with streamed(made, provider.url) as got:
                    if reads == "one part":
                        await anext(got.parts, None)
                    elif reads == "all":
                        await got.read_all()
            await made.exchange("POST", provider.url, content=b"{}", headers={}, timeout_s=5)
            assert len(provider.requests) == 4
            assert provider.connections == 1

    run(scenario())


def test_a_rest_that_was_left_unread_is_no_part_of_the_next_reply() -> None:
    async def scenario() -> None:
        async with connections() as made, wire(chunked(b"one", b"two")) as provider:
            for _ in range(2):
                async with streamed(made, provider.url) as answer:
                    assert (await anext(answer.parts)).startswith(b"one")
            assert await read(made, provider.url) == b"onetwo"

    run(scenario())


def test_a_rest_that_breaks_after_what_mattered_harms_nobody() -> None:
    async def scenario() -> None:
        async with connections() as made, wire(chunked(TEXT, end=b"hello\r\n")) as provider:
            for _ in range(2):
                async with streamed(made, provider.url) as answer:
                    assert await anext(answer.parts) == TEXT
            assert provider.connections == 2

    run(scenario())


def test_after_a_long_sleep_the_old_connection_is_not_used_for_a_stream(clock: FakeClock) -> None:
    async def scenario() -> None:
        async with connections(clock) as made, wire(chunked(TEXT)) as provider:
            await read(made, provider.url)
            clock.advance(31)
            await read(made, provider.url)
            await provider.closed.wait()
            assert provider.connections == 2

    run(scenario())


def test_other_requests_do_not_take_a_long_stream_for_a_connection_that_slept(clock: FakeClock) -> None:
    """The table of the breakers is reached by the same way as the providers, and asked while streams go on."""

    async def scenario() -> None:
        async with (
            connections(clock) as made,
            talker(b"one", b"two") as provider,
            wire(reply()) as table,
            streamed(made, provider.url) as answer,
        ):
            assert await anext(answer.parts) == b"one"
            clock.advance(31)
            await made.exchange("POST", table.url, content=b"{}", headers={}, timeout_s=5)
            provider.go.release()
            assert await anext(answer.parts) == b"two"

    run(scenario())


def test_a_connection_that_was_in_use_until_just_now_has_not_slept(clock: FakeClock) -> None:
    async def scenario() -> None:
        async with connections(clock) as made, wire(chunked(TEXT)) as provider:
            async with streamed(made, provider.url) as answer:
                clock.advance(31)
                await answer.read_all()
            await read(made, provider.url)
            assert provider.connections == 1

    run(scenario())


def test_nothing_is_left_over_when_the_answer_is_dropped_unread() -> None:
    async def scenario() -> None:
        async with connections() as made, talker(b"a") as provider:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                for _ in range(3):
                    with pytest.raises(Mistake):
                        async with streamed(made, provider.url):
                            raise Mistake
                    provider.go.release()

    run(scenario())
