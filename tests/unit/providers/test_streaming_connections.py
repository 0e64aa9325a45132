"""Tests streamed replies: when they are complete, how they are decoded, and when their connection is closed."""

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
import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.connections import TRANSPORT_ERRORS, Connections, DecodingError, StreamedReply
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.unfinished_work import fast_garbage_collection, unfinished_work
from tests.fakes.wire import reply, wire

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

TEXT = "data: é☃🎉\n\n".encode()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Runs the scenario and requires that it leaves no unhandled exception, task or generator."""
    faults: list[Mapping[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        async with asyncio.timeout(10):
            await scenario
        assert await unfinished_work() == []

    asyncio.run(bounded())
    gc.collect()
    assert faults == []


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Makes the search for leftovers of each test fast."""
    with fast_garbage_collection():
        yield


@asynccontextmanager
async def connections(clock: Clock | None = None) -> AsyncIterator[Connections]:
    """Yields connections and closes them on exit."""
    client = Connections(clock or SystemClock())
    yield client
    await client.aclose()


def streamed(
    client: Connections, url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 5
) -> AbstractAsyncContextManager[StreamedReply]:
    return client.stream("POST", url, content=b"{}", headers=headers or {}, timeout_s=timeout_s)


async def read(client: Connections, url: str, *, timeout_s: float = 5) -> bytes:
    async with streamed(client, url, timeout_s=timeout_s) as answer:
        return b"".join([part async for part in answer.parts])


@dataclass(slots=True)
class SlowServer:
    """A server that sends the first part at once and each next part after `send_next.release()`.

    It never ends a reply: it waits until the client disconnects.
    """

    parts: list[bytes]
    port: int = 0
    send_next: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    request_received: asyncio.Event = field(default_factory=asyncio.Event)
    client_disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        self.request_received.set()
        with suppress(ConnectionError):
            for part in self.parts:
                await self.send_next.acquire()
                writer.write(part)
                await writer.drain()
            await reader.read()
        self.client_disconnected.set()
        writer.close()


@asynccontextmanager
async def slow_server(*parts: bytes, headers: tuple[str, ...] = ()) -> AsyncIterator[SlowServer]:
    """Runs a `SlowServer` that sends `parts` as HTTP chunks."""
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, "transfer-encoding: chunked", "", ""]).encode()
    first, *rest = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    slow = SlowServer([head + first, *rest])
    server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
    slow.port = server.sockets[0].getsockname()[1]
    try:
        yield slow
    finally:
        server.close()


def chunked(*parts: bytes, headers: str = "", end: bytes = b"0\r\n\r\n") -> bytes:
    head = f"HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


COMPLETE = {
    "with its length": reply(TEXT),
    "in chunks": chunked(TEXT[:7], TEXT[7:]),
    "in chunks with a trailer": chunked(TEXT, end=b"0\r\nx-checksum: 1\r\n\r\n"),
    "after a 103 response": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + chunked(TEXT),
    "until the connection closes": b"HTTP/1.1 200 OK\r\n\r\n" + TEXT,
    "in HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + TEXT,
    "gzip": reply(gzip.compress(TEXT), "Content-Encoding: GZip"),
    "deflate": reply(zlib.compress(TEXT), "content-encoding: deflate"),
    "gzip in single bytes": chunked(
        *[bytes([byte]) for byte in gzip.compress(TEXT)], headers="content-encoding: gzip\r\n"
    ),
    "identity encoding": reply(TEXT, "content-encoding: identity"),
}


@pytest.mark.parametrize("answer", COMPLETE.values(), ids=COMPLETE)
def test_a_reply_is_read_in_every_encoding(answer: bytes) -> None:
    async def scenario() -> None:
        async with connections() as client, wire(answer, then_close=True) as provider:
            assert await read(client, provider.url) == TEXT

    run(scenario())


def test_status_and_headers_arrive_before_the_body_and_the_rest_can_be_read_at_once() -> None:
    async def scenario() -> None:
        headers = ("X-Name: one", "x-name: two")
        async with (
            connections() as client,
            slow_server(b"a", headers=headers) as provider,
            streamed(client, provider.url) as answer,
        ):
            assert answer.status == 200
            assert answer.header("x-name") == "one, two"
            assert answer.header("x-other") is None
        async with connections() as client, wire(chunked(b"a", b"b")) as server, streamed(client, server.url) as answer:
            assert await anext(answer.parts) == b"a"
            assert (await answer.read_all()).content == b"b"

    run(scenario())


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
def test_each_part_is_yielded_before_the_next_is_sent(encoding: str) -> None:
    texts = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n"]
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS)
    compressed = [compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH) for text in texts]
    headers = (f"content-encoding: {encoding}",)

    async def scenario() -> None:
        async with (
            connections() as client,
            slow_server(*(texts if encoding == "identity" else compressed), headers=headers) as provider,
            streamed(client, provider.url) as answer,
        ):
            for text in texts:
                got = b""
                while got != text:
                    got += await anext(answer.parts)
                provider.send_next.release()

    run(scenario())


def test_a_stream_is_requested_uncompressed_unless_configured_otherwise() -> None:
    async def scenario() -> None:
        async with connections() as client, wire(reply()) as provider:
            for headers in ({}, {"accept-encoding": "gzip"}):
                async with streamed(client, provider.url, headers):
                    pass
            first, second = (request.lower() for request in provider.requests)
            assert b"accept-encoding: identity\r\n" in first
            assert b"accept-encoding: gzip\r\n" in second
            assert first.count(b"accept-encoding:") == second.count(b"accept-encoding:") == 1

    run(scenario())


INCOMPLETE = {
    "shorter than its content-length": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n" + TEXT,
        httpcore.RemoteProtocolError,
    ),
    "without the last chunk": (chunked(TEXT, end=b""), httpcore.RemoteProtocolError),
    "with an incomplete chunk": (chunked(TEXT, end=b"ff\r\nx"), httpcore.RemoteProtocolError),
    "with an invalid chunk": (chunked(TEXT, end=b"hello\r\n"), httpcore.RemoteProtocolError),
    "not compressed despite its header": (reply(TEXT, "content-encoding: gzip"), DecodingError),
    "with an unknown encoding": (reply(TEXT, "content-encoding: br"), DecodingError),
    "compressed twice": (reply(gzip.compress(TEXT), "content-encoding: deflate, gzip"), DecodingError),
    "empty": (b"", httpcore.RemoteProtocolError),
    "not HTTP": (b"hello\r\n\r\n", httpcore.RemoteProtocolError),
}


@pytest.mark.parametrize(("answer", "expected"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_an_incomplete_reply_raises_an_error_and_closes_its_connection(
    answer: bytes, expected: type[Exception]
) -> None:
    async def scenario() -> None:
        async with connections() as client, wire(answer, then_close=True) as provider:
            with pytest.raises(TRANSPORT_ERRORS) as caught:
                await read(client, provider.url)
            assert type(caught.value) is expected
            assert client._pools
            assert all(not pool.connections for pool in client._pools.values())

    run(scenario())


def test_an_invalid_compressed_reply_is_reported_without_the_librarys_message() -> None:
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


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br"])
def test_an_error_in_an_unknown_encoding_keeps_its_status(encoding: str) -> None:
    async def scenario() -> None:
        answer = reply(b"\x00", f"content-encoding: {encoding}", status="503 Service Unavailable")
        async with connections() as client, wire(answer) as provider, streamed(client, provider.url) as got:
            whole = await got.read_all()
            assert (whole.status, whole.content) == (503, b"\x00")

    run(scenario())


def test_a_timeout_between_two_parts_closes_the_connection() -> None:
    async def scenario() -> None:
        async with connections() as client, slow_server(b"a", b"never") as provider:
            with pytest.raises(httpcore.ReadTimeout):
                await read(client, provider.url, timeout_s=0.1)
            provider.send_next.release()
            await provider.client_disconnected.wait()

    run(scenario())


def test_each_part_restarts_the_timeout() -> None:
    async def scenario() -> None:
        async with (
            connections() as client,
            slow_server(b"a", b"b", b"c", b"d") as provider,
            streamed(client, provider.url, timeout_s=0.5) as answer,
        ):
            for text in (b"a", b"b", b"c", b"d"):
                assert await anext(answer.parts) == text
                await asyncio.sleep(0.2)  # the sum is longer than the timeout
                provider.send_next.release()

    run(scenario())


class ReaderError(Exception):
    """An error of the code that reads the reply."""


@pytest.mark.parametrize("parts_read", [0, 1])
def test_leaving_the_context_with_an_exception_closes_the_connection_at_once(parts_read: int) -> None:
    async def scenario() -> None:
        async with connections() as client, slow_server(b"a") as provider:
            with pytest.raises(ReaderError):  # noqa: PT012 — the test needs the error inside the context
                async with streamed(client, provider.url) as answer:
                    for _ in range(parts_read):
                        await anext(answer.parts)
                    raise ReaderError
            await provider.client_disconnected.wait()

    run(scenario())


def test_leaving_an_unfinished_reply_closes_the_connection_after_the_drain_timeout() -> None:
    async def scenario() -> None:
        async with connections() as client, slow_server(b"a") as provider:
            async with streamed(client, provider.url) as answer:
                await anext(answer.parts)
            await provider.client_disconnected.wait()

    run(scenario())


def test_cancelling_the_reading_task_closes_the_connection_at_once() -> None:
    async def scenario() -> None:
        async with connections() as client, slow_server(b"a") as provider:
            reading = asyncio.create_task(read(client, provider.url))
            await provider.request_received.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await provider.client_disconnected.wait()

    run(scenario())


def test_cancellation_while_the_rest_is_read_is_propagated() -> None:
    async def scenario() -> None:
        left = asyncio.Event()

        async def leave() -> None:
            async with streamed(client, provider.url) as answer:
                await anext(answer.parts)
                left.set()

        async with connections() as client, slow_server(b"a") as provider:
            leaving = asyncio.create_task(leave())
            await left.wait()
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await provider.client_disconnected.wait()

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
def test_the_connection_of_a_complete_reply_is_reused_for_any_number_of_parts_read(answer: bytes, reads: str) -> None:
    async def scenario() -> None:
        async with connections() as client, wire(answer) as provider:
            for _ in range(3):
                async with streamed(client, provider.url) as got:
                    if reads == "one part":
                        await anext(got.parts, None)
                    elif reads == "all":
                        await got.read_all()
            await client.exchange("POST", provider.url, content=b"{}", headers={}, timeout_s=5)
            assert len(provider.requests) == 4
            assert provider.connections == 1

    run(scenario())


def test_unread_parts_are_not_part_of_the_next_reply() -> None:
    async def scenario() -> None:
        async with connections() as client, wire(chunked(b"one", b"two")) as provider:
            for _ in range(2):
                async with streamed(client, provider.url) as answer:
                    assert (await anext(answer.parts)).startswith(b"one")
            assert await read(client, provider.url) == b"onetwo"

    run(scenario())


def test_an_invalid_end_after_the_parts_read_raises_no_error() -> None:
    async def scenario() -> None:
        async with connections() as client, wire(chunked(TEXT, end=b"hello\r\n")) as provider:
            for _ in range(2):
                async with streamed(client, provider.url) as answer:
                    assert await anext(answer.parts) == TEXT
            assert provider.connections == 2

    run(scenario())


def test_a_connection_that_was_idle_for_long_is_not_used_for_a_stream(clock: FakeClock) -> None:
    async def scenario() -> None:
        async with connections(clock) as client, wire(chunked(TEXT)) as provider:
            await read(client, provider.url)
            clock.advance(31)
            await read(client, provider.url)
            await provider.closed.wait()
            assert provider.connections == 2

    run(scenario())


def test_a_request_during_a_long_stream_does_not_close_its_pool_as_idle(clock: FakeClock) -> None:
    """DynamoDB is requested during streams, and its connections can be in the same pool."""

    async def scenario() -> None:
        async with (
            connections(clock) as client,
            slow_server(b"one", b"two") as provider,
            wire(reply()) as table,
            streamed(client, provider.url) as answer,
        ):
            assert await anext(answer.parts) == b"one"
            clock.advance(31)
            await client.exchange("POST", table.url, content=b"{}", headers={}, timeout_s=5)
            provider.send_next.release()
            assert await anext(answer.parts) == b"two"

    run(scenario())


def test_a_connection_used_by_a_long_stream_is_not_idle(clock: FakeClock) -> None:
    async def scenario() -> None:
        async with connections(clock) as client, wire(chunked(TEXT)) as provider:
            async with streamed(client, provider.url) as answer:
                clock.advance(31)
                await answer.read_all()
            await read(client, provider.url)
            assert provider.connections == 1

    run(scenario())


def test_no_task_or_generator_remains_when_a_reply_is_not_read() -> None:
    async def scenario() -> None:
        async with connections() as client, slow_server(b"a") as provider:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                for _ in range(3):
                    with pytest.raises(ReaderError):
                        async with streamed(client, provider.url):
                            raise ReaderError
                    provider.send_next.release()

    run(scenario())
