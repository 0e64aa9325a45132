"""Server-sent events as the answer to a request: written as they are made, with pings in silences, and cancelled when
the client disconnects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sekha_llm_bridge.clock import Clock

DONE = b"data: [DONE]\n\n"
PING_INTERVAL_S = 5.0
PING = b": ping\n\n"
PING_EVENT = b'event: ping\ndata: {"type": "ping"}\n\n'
PINGS = frozenset({PING, PING_EVENT})
"""What may be sent in silences: it is no part of an answer."""

EVENT_STREAM = "text/event-stream; charset=utf-8"
_HEADERS = {
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx and compatible proxies would buffer the events
}


def event(data: Mapping[str, object]) -> bytes:
    """Returns one event with JSON data."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


class ConnectionClosed(Exception):
    """The client has closed the connection."""


class EventWriter:
    """Sends events. The first one starts the response, with status 200 and what `headers` contains by then. Once
    `is_over` is set, no ping is sent any more.
    """

    def __init__(
        self, send: Send, clock: Clock, content_type: str = EVENT_STREAM, ping: Callable[[], bytes] = lambda: PING
    ) -> None:
        self.headers: dict[str, str] = {}
        self._content_type = content_type
        self._ping = ping
        self.has_begun = False
        self.is_over = False
        self._send = send
        self._clock = clock
        self._lock = asyncio.Lock()
        self._sent_at_s = clock.monotonic_s()

    async def write(self, events: bytes, *, is_last: bool = False) -> None:
        """Returns when the events have been sent. Raises `ConnectionClosed`."""
        async with self._lock:
            await self._write(events, is_last=is_last)

    async def ping(self) -> None:
        """Sends a ping after every `PING_INTERVAL_S` of silence, also before the first event, so that no proxy takes
        the connection for dead. Returns when there is nothing more to come. Raises `ConnectionClosed`.
        """
        while not self.is_over:
            if (left_s := self._until_ping_s()) > 0:
                await self._clock.sleep(left_s)
                continue
            async with self._lock:
                if self._until_ping_s() <= 0 and not self.is_over:
                    await self._write(self._ping(), is_last=False)

    def _until_ping_s(self) -> float:
        return self._sent_at_s + PING_INTERVAL_S - self._clock.monotonic_s()

    async def _write(self, events: bytes, *, is_last: bool) -> None:
        try:
            if not self.has_begun:
                self.has_begun = True
                headers = {"content-type": self._content_type, **_HEADERS, **self.headers}
                raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
                await self._send({"type": "http.response.start", "status": 200, "headers": raw})
            await self._send({"type": "http.response.body", "body": events, "more_body": not is_last})
        except OSError as exc:
            raise ConnectionClosed from exc
        self._sent_at_s = self._clock.monotonic_s()


class EventResponse(Response):
    """A response whose events `write` sends. An exception that `write` raises before the first event becomes an
    ordinary error response. `write` is cancelled when the client disconnects, and when it is not done within
    `timeout_s`, for example because the client reads too slowly. `ping` returns what is sent in
    silences; None: nothing.
    """

    def __init__(
        self,
        write: Callable[[EventWriter], Awaitable[None]],
        clock: Clock,
        *,
        timeout_s: float,
        content_type: str = EVENT_STREAM,
        ping: Callable[[], bytes] | None = lambda: PING,
    ) -> None:
        super().__init__()
        self._content_type = content_type
        self._ping = ping
        self._write = write
        self._clock = clock
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 — ASGI's signature
        """Serves one request. See ASGI."""
        writer = EventWriter(send, self._clock, self._content_type, self._ping or bytes)

        async def write() -> None:
            try:
                await self._write(writer)
            finally:
                writer.is_over = True

        writing = asyncio.ensure_future(write())
        watching = [asyncio.ensure_future(_until_disconnect(receive))]
        if self._ping is not None:
            watching.append(asyncio.ensure_future(writer.ping()))
        try:
            await asyncio.wait({writing, *watching}, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, *watching):
                task.cancel()
            await asyncio.gather(writing, *watching, return_exceptions=True)
        if not writing.cancelled():
            writing.result()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
