"""One streamed answer on its way to the Runtime API: a connection, a request head, a chunk for each write, an end.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import cast

from sekha_llm_bridge.lambda_runtime.faults import Fault

_HEADERS = {
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    "Transfer-Encoding": "chunked",
    "Content-Type": "application/vnd.awslambda.http-integration-response",
    "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}


def request_head(address: str, path: str, headers: Mapping[str, str]) -> bytes:
    """What comes before the first chunk."""
    fields = {"Host": address, **_HEADERS, **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """`data` as HTTP frames it. It must not be empty: that would be the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ResponseStream(asyncio.Protocol):
    """Connects when it is made, so that the first byte need not wait for it; nothing is sent before `begin`.

    It is over when the Runtime API has answered or closed. Before the end, both mean that nobody reads on. It is all
    that can be noticed of a caller who leaves: Lambda lets a function run on without its caller and says nothing.
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
        self.begun = False
        self.status: int | None = None

    @property
    def broken(self) -> bool:
        """Whether nobody reads on, before it has ended."""
        return self._transport.is_closing()

    async def begin(self, prelude: bytes, data: bytes) -> None:
        """Sends the head, the prelude and the first of the payload, in one write. Raises `OSError`."""
        await asyncio.shield(self._connecting)
        if self._is_closed:
            raise ConnectionResetError("the invocation is over")
        if self._transport.is_closing():  # for having been idle: nothing was lost with it
            await self._lost.wait()
            self._connecting = self._connect()
            await asyncio.shield(self._connecting)
        self.begun = True
        await self._write(self._head + chunk(prelude) + (chunk(data) if data else b""))

    async def write(self, data: bytes) -> None:
        """Sends one chunk; waits while the Runtime API takes no more. Raises `OSError` when it is over."""
        await self._write(chunk(data))

    async def wait_until_done(self) -> None:
        """Returns when the payload is complete, or nobody reads on."""
        await self._done.wait()

    def complete(self) -> None:
        """Says that the payload is complete, though the response goes on until `end`."""
        self._done.set()

    async def end(self, fault: Fault | None = None, *, limit_s: float) -> None:
        """Ends the payload, or tells by trailers that it failed; then waits for the Runtime API's answer, no longer
        than that. Where a reader has not even taken what came before a failure, it is broken off.
        """
        if fault is not None and self._transport.get_write_buffer_size():
            self._transport.abort()
        self._transport.write(b"0\r\n%b\r\n" % (fault.trailers() if fault else b""))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), limit_s)

    async def close(self) -> None:
        """Leaves nothing behind on the loop. Whoever sends later, or still waits, has nobody to send to."""
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
        self._transport.set_write_buffer_limits(high=0)  # what the socket does not take makes the app wait
        self._writable.set()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. Whatever the answer is, it ends the response, early or in its time."""
        self._received += data
        if self.begun:
            self.status = answered_status(self._received)
        if self.status is not None or not self.begun:
            self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()
        self._lost.set()
        self._received.clear()
        if self.begun:
            self._over.set()
            self._done.set()


def answered_status(answer: bytes | bytearray) -> int | None:
    """The status of an HTTP answer once all of it is there; 0 if it is no HTTP."""
    head, complete, body = bytes(answer).partition(b"\r\n\r\n")
    if not complete:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    length = next((line[15:] for line in lines if line.lower().startswith("content-length:")), "0")
    if len(body) < int(length):
        return None
    code = first[9:12]
    return int(code) if first.startswith("HTTP/1.") and code.isdigit() else 0
