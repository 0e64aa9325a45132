"""One streamed response to the Runtime API: a connection, a request head, a chunk for each write, an end.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import cast

from sekha_llm_bridge.lambda_runtime.error_report import ErrorReport

_HEADERS = {
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    "Transfer-Encoding": "chunked",
    "Content-Type": "application/vnd.awslambda.http-integration-response",
    "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}


def request_head(address: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Returns the HTTP request head that precedes the first chunk."""
    fields = {"Host": address, **_HEADERS, **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Returns `data` as an HTTP chunk. It must not be empty: an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ResponseStream(asyncio.Protocol):
    """One response. It connects when it is created, so that the first byte need not wait; it sends nothing before
    `begin`.

    It is over when the Runtime API has answered or closed the connection. If that happens before the end, the reader
    has gone. There is no other sign of a client's disconnect: Lambda lets the function continue and does not tell it.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
    """

    def __init__(self, address: str, head: bytes) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._head = head
        self._loop = asyncio.get_running_loop()
        self._writable, self._lost = asyncio.Event(), asyncio.Event()
        self._over, self._done = asyncio.Event(), asyncio.Event()
        self._received = bytearray()
        self._connecting = self._connect()
        self._is_closed = False
        self.has_begun = False
        self.status: int | None = None

    @property
    def is_broken(self) -> bool:
        """Whether the reader has gone before the end."""
        return self._transport.is_closing()

    async def begin(self, prelude: bytes, data: bytes) -> None:
        """Sends the head, the prelude and the first part of the payload in one write. Raises `OSError`."""
        await asyncio.shield(self._connecting)
        if self._is_closed:
            raise ConnectionResetError("the invocation is over")
        if self._transport.is_closing():  # the connection was closed while idle: nothing was lost
            await self._lost.wait()
            self._connecting = self._connect()
            await asyncio.shield(self._connecting)
        self.has_begun = True
        await self._write(self._head + chunk(prelude) + (chunk(data) if data else b""))

    async def write(self, data: bytes) -> None:
        """Sends one chunk; waits while the Runtime API does not accept more. Raises `OSError` when the response is
        over."""
        await self._write(chunk(data))

    async def wait_until_over(self) -> None:
        """Returns when the payload is complete, or the reader has gone."""
        await self._done.wait()

    def complete(self) -> None:
        """Marks the payload as complete; the response stays open until `end`."""
        self._done.set()

    async def end(self, report: ErrorReport | None = None, *, timeout_s: float) -> None:
        """Ends the payload, with trailers if it failed; then waits at most `timeout_s` for the Runtime API's answer.
        The connection is aborted where the reader has not yet accepted what was sent before an error.
        """
        if report is not None and self._transport.get_write_buffer_size():
            self._transport.abort()
        self._transport.write(b"0\r\n%b\r\n" % (report.trailers() if report else b""))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), timeout_s)

    async def close(self) -> None:
        """Closes the connection and ends all waiting calls. Later sends raise `OSError`."""
        self._is_closed = True
        self._done.set()
        await asyncio.wait([self._connecting])
        if self._connecting.exception() is None:
            self._transport.abort()
            await self._lost.wait()

    def _connect(self) -> asyncio.Task[object]:
        self._lost.clear()
        return self._loop.create_task(self._loop.create_connection(lambda: self, *self._address))

    async def _write(self, data: bytes) -> None:
        self._raise_if_broken()
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()
        self._raise_if_broken()

    def _raise_if_broken(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the Runtime API reads no more of this response")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # the app waits while the socket's buffer is full
        self._writable.set()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. Any answer ends the response, before or after its end."""
        self._received += data
        if self.has_begun:
            self.status = answered_status(self._received)
        if self.status is not None or not self.has_begun:
            self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()
        self._lost.set()
        self._received.clear()
        if self.has_begun:
            self._over.set()
            self._done.set()


def answered_status(answer: bytes | bytearray) -> int | None:
    """Returns the status of an HTTP answer once it is complete, else None; 0 for anything but HTTP."""
    head, complete, body = bytes(answer).partition(b"\r\n\r\n")
    if not complete:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    length = next((line[15:] for line in lines if line.lower().startswith("content-length:")), "0")
    if len(body) < int(length):
        return None
    code = first[9:12]
    return int(code) if first.startswith("HTTP/1.") and code.isdigit() else 0
