"""A small HTTP/1.1 server on asyncio and h11: the gateway and every Runtime API stand on it.

It keeps what a gateway needs and most servers hide: header names as the client wrote them, the path as it was sent,
trailers of a chunked request, and a body that is read while it arrives. A body that is sent as it comes can end in two
ways: whole, or broken off together with its connection, so that no client takes a part for the whole.
"""

import asyncio
import contextlib
import http.client
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import h11

from local_stack.racing import until_lost

T = TypeVar("T")
Headers = Sequence[tuple[str, str]]

CHUNK_BYTES = 64 * 1024
# What is still read, and thrown away, of a body that nobody wants: a client that has not finished sending would
# otherwise see a reset connection in place of its answer.
DRAIN_BYTES = 256 * 1024 * 1024

_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

logger = logging.getLogger(__name__)


class BodyTooLargeError(Exception):
    """A body is longer than its reader takes."""


class BrokenOffError(Exception):
    """A body could not be sent to its end."""


class Body:
    """The body of one request, read once; `trailers` are known when it has ended."""

    def __init__(self, wire: "_Wire") -> None:
        self.wire = wire
        self._ended = False
        self.trailers: Headers = ()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the body as it arrives. Raises ConnectionResetError when it breaks off, or is no HTTP any more."""
        while not self._ended:
            try:
                event = await self.wire.next_event()
            except h11.RemoteProtocolError as fault:
                raise ConnectionResetError(str(fault)) from fault
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._ended = True
                self.trailers = _text(event.headers)
            else:
                raise ConnectionResetError("the sender went away in mid-body")

    async def read(self, limit_bytes: int) -> bytes:
        """Returns the whole body. Raises BodyTooLargeError for a longer one, which is read to its end all the same."""
        kept: list[bytes] = []
        length = 0
        async for chunk in self.chunks():
            length += len(chunk)
            if length <= limit_bytes:
                kept.append(chunk)
            elif length > DRAIN_BYTES:
                break
        if length > limit_bytes:
            raise BodyTooLargeError
        return b"".join(kept)

    async def drain(self) -> None:
        """Reads what nobody wanted, so that the connection can be used again."""
        with contextlib.suppress(BodyTooLargeError):
            await self.read(0)


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `target` is the path and query as sent, header names are in the sender's own case."""

    method: str
    target: str
    headers: Headers
    client: str
    body: Body

    def header(self, name: str, default: str = "") -> str:
        """The first value of header `name`, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name), default)

    async def while_connected(self, work: Coroutine[object, object, T], *, timeout_s: float | None = None) -> T:
        """Returns what `work` returns; to be called once the body has been read.

        When the client goes away before that, `work` is cancelled and ConnectionResetError raised; TimeoutError after
        `timeout_s`.
        """
        return await until_lost(work, self.body.wire.gone(), timeout_s=timeout_s)


def _nothing() -> None:
    """Where there is nothing to close."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """A body that is sent as it comes, and broken off when `chunks` raises.

    It is also broken off when nothing was sent for `idle_s`, and at `until` (a time of the event loop). `close` is
    called in any case: when all was sent, when it was broken off, and when nobody wants it.
    """

    chunks: AsyncIterator[bytes]
    close: Callable[[], None] = _nothing
    idle_s: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. A streamed body is sent chunked, unless a header tells its length."""

    status: int
    headers: Headers = ()
    body: bytes | Streamed = b""


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """Serves `handler` on a listening socket, until it is closed."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket.socket) -> None:
        """Begins to accept on `listening`."""
        self._server = await asyncio.start_server(self._accept, sock=listening)

    async def close(self) -> None:
        """Stops accepting and drops every connection, also those that wait for an answer."""
        if self._server:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._converse(_Wire(reader, writer)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, wire: "_Wire") -> None:
        try:
            while await self._exchange(wire):
                pass
        except (ConnectionError, TimeoutError, h11.LocalProtocolError):
            logger.debug("the client went away")
        finally:
            wire.close()

    async def _exchange(self, wire: "_Wire") -> bool:
        """Answers one request; returns whether the connection can take another."""
        try:
            head = await wire.next_event()
        except h11.RemoteProtocolError as fault:
            await wire.send(Response(fault.error_status_hint, (("content-type", "text/plain"),), str(fault).encode()))
            return False
        if not isinstance(head, h11.Request):
            return False
        body = Body(wire)
        request = Request(
            head.method.decode(), head.target.decode("latin-1"), _text(head.headers.raw_items()), wire.client, body
        )
        response = await self._answer(request)
        try:
            await body.drain()
            await wire.send(response, to_head=request.method == "HEAD")
        except BrokenOffError as broken:
            logger.warning("%s %s was broken off: %s", request.method, request.target.partition("?")[0], broken)
            return False
        finally:
            if isinstance(response.body, Streamed):
                response.body.close()
        return wire.next_cycle()

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.target)
            return Response(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Wire:
    """One connection: bytes on one side, h11's events on the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.SERVER, max_incomplete_event_size=CHUNK_BYTES)
        peer = writer.get_extra_info("peername")
        # Asyncio does it only for sockets that were made with the protocol's number; without it, a small chunk would
        # wait for the acknowledgement of the one before.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = str(peer[0]) if peer else ""

    def close(self) -> None:
        self._writer.close()

    async def next_event(self) -> object:
        """An event of h11's, once there is one."""
        while True:
            event = self._state.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._state.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._state.receive_data(await self._reader.read(CHUNK_BYTES))

    async def gone(self) -> None:
        """Returns when the client has closed the connection, or its half of it.

        To be awaited only between the end of a request's body and that of its answer. Of what a client sends ahead in
        that time (the next request) some is kept, and then the connection is no longer listened to.
        """
        while len(self._state.trailing_data[0]) <= CHUNK_BYTES:
            received = await self._reader.read(CHUNK_BYTES)
            if not received:
                return
            self._state.receive_data(received)
        await asyncio.Event().wait()

    async def send(self, response: Response, *, to_head: bool = False) -> None:
        """Sends `response`. Raises BrokenOffError, or ConnectionError when the client has gone away."""
        body = b"" if to_head or response.status in _WITHOUT_BODY else response.body
        headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in response.headers]
        if isinstance(response.body, bytes) and response.status not in _WITHOUT_BODY:
            headers.append((b"content-length", str(len(response.body)).encode()))
        reason = http.client.responses.get(response.status, "").encode()
        begin = self._state.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
        if isinstance(body, Streamed):
            self._writer.write(begin)
            await self._send_streamed(body)
        else:
            self._writer.write(begin + (self._state.send(h11.Data(data=body)) or b""))
            await self._write(h11.EndOfMessage())

    async def _send_streamed(self, body: Streamed) -> None:
        try:
            await until_lost(self._send_chunks(body), self.gone())
        except ConnectionError:
            raise
        except Exception as fault:
            self._break_off(at_once=isinstance(fault, TimeoutError))
            raise BrokenOffError(str(fault) or "its time was up, or nothing came for too long") from fault

    async def _send_chunks(self, body: Streamed) -> None:
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout_at(body.until), asyncio.timeout(body.idle_s) as idle:
            async for chunk in body.chunks:
                await self._write(h11.Data(data=chunk))
                if body.idle_s:
                    idle.reschedule(clock() + body.idle_s)
            await self._write(h11.EndOfMessage())

    def _break_off(self, *, at_once: bool) -> None:
        """Ends the connection in the midst of an answer: `at_once`, or after what the client can still have of it.

        HTTP/1.0 takes the end of a connection for that of the answer, unless it is reset.
        """
        if (self._state.their_http_version or b"") < b"1.1":
            no_linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        if at_once:
            self._writer.transport.abort()

    async def _write(self, event: h11.Event) -> None:
        self._writer.write(self._state.send(event) or b"")
        await self._writer.drain()

    def next_cycle(self) -> bool:
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        self._state.start_next_cycle()
        return True


def _text(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def listen(host: str, port: int = 0) -> socket.socket:
    """A listening socket on `host`; port 0 picks a free one. Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.listen(512)
    return listening
