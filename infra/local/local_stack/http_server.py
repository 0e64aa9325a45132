"""A small HTTP/1.1 server on asyncio and h11, used by the gateway and every Runtime API.

It provides what most servers hide: header names in the client's letter case, the path as it was sent, trailers of a
chunked request, and bodies that are read as they arrive. A streamed body is either sent completely, or its connection
is closed without the end of the body, so that no client takes a part for the whole.
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

from local_stack.disconnect import run_until_disconnect

T = TypeVar("T")
Headers = Sequence[tuple[str, str]]

CHUNK_BYTES = 64 * 1024
# Up to this size, an unwanted body is read and discarded. Otherwise, a client that is still sending would see a reset
# connection instead of its answer.
DRAIN_BYTES = 256 * 1024 * 1024

_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

logger = logging.getLogger(__name__)


class BodyTooLargeError(Exception):
    """A body exceeds the reader's limit."""


class BodyAbortedError(Exception):
    """A body could not be sent completely."""


class Body:
    """The body of one request. It can be read once; `trailers` are set when it has ended."""

    def __init__(self, connection: "_Connection") -> None:
        self.connection = connection
        self._ended = False
        self.trailers: Headers = ()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the body as it arrives. Raises ConnectionResetError when it is incomplete or invalid."""
        while not self._ended:
            try:
                event = await self.connection.next_event()
            except h11.RemoteProtocolError as fault:
                raise ConnectionResetError(str(fault)) from fault
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._ended = True
                self.trailers = _text(event.headers)
            else:
                raise ConnectionResetError("the sender disconnected during the body")

    async def read(self, limit_bytes: int) -> bytes:
        """Returns the whole body. Raises BodyTooLargeError for a longer one, after reading it to its end."""
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
        """Reads and discards the rest of the body, so that the connection can be used again."""
        with contextlib.suppress(BodyTooLargeError):
            await self.read(0)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `target`: the path and query as sent. Header names are in the sender's letter case."""

    method: str
    target: str
    headers: Headers
    client: str
    body: Body

    def header(self, name: str, default: str = "") -> str:
        """Returns the first value of header `name`, in any letter case."""
        return next((value for key, value in self.headers if key.lower() == name), default)

    async def while_connected(self, work: Coroutine[object, object, T], *, timeout_s: float | None = None) -> T:
        """Returns the result of `work`. Must be called after the body has been read.

        When the client disconnects first, it cancels `work` and raises ConnectionResetError; after `timeout_s` seconds
        it raises TimeoutError.
        """
        return await run_until_disconnect(work, self.body.connection.wait_for_disconnect(), timeout_s=timeout_s)


def _no_op() -> None:
    """Does nothing."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """A body that is sent chunk by chunk.

    It is aborted when `chunks` raises, when nothing was sent for `idle_s` seconds, and at `until` (a time of the event
    loop). `close` is called in all cases: after the whole body, after an abort, and when the client disconnects.
    """

    chunks: AsyncIterator[bytes]
    close: Callable[[], None] = _no_op
    idle_s: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One response. A streamed body is sent chunked, unless it has a content-length header."""

    status: int
    headers: Headers = ()
    body: bytes | Streamed = b""


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """Serves `handler` on a listening socket until `close`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket.socket) -> None:
        """Starts to accept connections on `listening`."""
        self._server = await asyncio.start_server(self._accept, sock=listening)

    async def close(self) -> None:
        """Stops accepting, and closes all connections, including those that wait for an answer."""
        if self._server:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve_connection(_Connection(reader, writer)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve_connection(self, connection: "_Connection") -> None:
        try:
            while await self._serve_request(connection):
                pass
        except (ConnectionError, TimeoutError, h11.LocalProtocolError):
            logger.debug("the client disconnected")
        finally:
            connection.close()

    async def _serve_request(self, connection: "_Connection") -> bool:
        """Answers one request. Returns whether the connection can be used for another."""
        try:
            head = await connection.next_event()
        except h11.RemoteProtocolError as fault:
            await connection.send(
                Response(fault.error_status_hint, (("content-type", "text/plain"),), str(fault).encode())
            )
            return False
        if not isinstance(head, h11.Request):
            return False
        body = Body(connection)
        request = Request(
            head.method.decode(),
            head.target.decode("latin-1"),
            _text(head.headers.raw_items()),
            connection.client,
            body,
        )
        response = await self._answer(request)
        try:
            await body.drain()
            await connection.send(response, to_head=request.method == "HEAD")
        except BodyAbortedError as abort:
            logger.warning("%s %s was aborted: %s", request.method, request.target.partition("?")[0], abort)
            return False
        finally:
            if isinstance(response.body, Streamed):
                response.body.close()
        return connection.next_cycle()

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.target)
            return Response(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Connection:
    """One connection: reads and writes h11's events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.SERVER, max_incomplete_event_size=CHUNK_BYTES)
        peer = writer.get_extra_info("peername")
        # asyncio sets this only for sockets with an explicit protocol number. Without it, a small chunk waits for the
        # acknowledgement of the one before.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = str(peer[0]) if peer else ""

    def close(self) -> None:
        self._writer.close()

    async def next_event(self) -> object:
        """Returns the next event of h11."""
        while True:
            event = self._state.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._state.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._state.receive_data(await self._reader.read(CHUNK_BYTES))

    async def wait_for_disconnect(self) -> None:
        """Returns when the client has closed the connection, or its sending half.

        May only be awaited after the request's body and before the end of the answer. Data of a pipelined request is
        kept, up to 64 KiB; after that, the connection is not read any more, and a disconnect is not noticed.
        """
        while len(self._state.trailing_data[0]) <= CHUNK_BYTES:
            received = await self._reader.read(CHUNK_BYTES)
            if not received:
                return
            self._state.receive_data(received)
        await asyncio.Event().wait()

    async def send(self, response: Response, *, to_head: bool = False) -> None:
        """Sends `response`. Raises BodyAbortedError, or ConnectionError when the client has disconnected."""
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
            await run_until_disconnect(self._send_chunks(body), self.wait_for_disconnect())
        except ConnectionError:
            raise
        except Exception as fault:
            self._abort(at_once=isinstance(fault, TimeoutError))
            raise BodyAbortedError(str(fault) or "the time limit was reached, or no chunk came for too long") from fault

    async def _send_chunks(self, body: Streamed) -> None:
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout_at(body.until), asyncio.timeout(body.idle_s) as idle:
            async for chunk in body.chunks:
                await self._write(h11.Data(data=chunk))
                if body.idle_s:
                    idle.reschedule(clock() + body.idle_s)
            await self._write(h11.EndOfMessage())

    def _abort(self, *, at_once: bool) -> None:
        """Closes the connection during an answer: `at_once`, or after sending the buffered part.

        In HTTP/1.0, the end of the connection is the end of the answer, unless the connection is reset.
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
    """Returns a listening socket on `host`; port 0 picks a free port. Raises OSError when the port is taken."""
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
