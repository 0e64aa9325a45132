"""Server-sent events as the answer to a request: written as they come, never silent for long, broken off when nobody
listens any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sekha_llm_bridge.clock import Clock

DONE = b"data: [DONE]\n\n"
_PING = b": ping\n\n"
_LONGEST_SILENCE_S = 5.0
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx, and what has learnt it from nginx, would hold events back
}


def event(data: Mapping[str, object]) -> bytes:
    """One event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


class ConnectionClosed(Exception):
    """The other side has closed the connection."""


class EventWriter:
    """Sends events; the first one begins the answer, with status 200 and whatever `headers` holds by then. Once it
    `is_over`, nothing follows but somebody else's answer.
    """

    def __init__(self, send: Send, clock: Clock) -> None:
        self.headers: dict[str, str] = {}
        self.has_begun = False
        self.is_over = False
        self._send = send
        self._clock = clock
        self._turn = asyncio.Lock()
        self._sent_at_s = clock.monotonic_s()

    async def write(self, events: bytes, *, is_last: bool = False) -> None:
        """Returns when they are on their way. Raises `ConnectionClosed`."""
        async with self._turn:
            await self._write(events, is_last=is_last)

    async def ping(self) -> None:
        """Breaks every silence, also before the first event, so that nobody in between takes the connection for dead.
        Ends by raising `ConnectionClosed`, or when there is nothing more to come.
        """
        while not self.is_over:
            if (left_s := self._left_s()) > 0:
                await self._clock.sleep(left_s)
                continue
            async with self._turn:
                if self._left_s() <= 0 and not self.is_over:
                    await self._write(_PING, is_last=False)

    def _left_s(self) -> float:
        """Until a silence has lasted long enough."""
        return self._sent_at_s + _LONGEST_SILENCE_S - self._clock.monotonic_s()

    async def _write(self, events: bytes, *, is_last: bool) -> None:
        try:
            if not self.has_begun:
                self.has_begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._raw_headers()})
            await self._send({"type": "http.response.body", "body": events, "more_body": not is_last})
        except OSError as exc:
            raise ConnectionClosed from exc
        self._sent_at_s = self._clock.monotonic_s()

    def _raw_headers(self) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode("latin-1")) for name, value in {**_HEADERS, **self.headers}.items()]


class EventResponse(Response):
    """An answer that `produce` writes. What that raises before the first event becomes an answer of its own, and after
    it, it is for `produce` to tell. It is cancelled when nobody listens any more, or does not read on for so long that
    it is not done in `limit_s`.
    """

    def __init__(self, produce: Callable[[EventWriter], Awaitable[None]], clock: Clock, *, limit_s: float) -> None:
        super().__init__()
        self._produce = produce
        self._clock = clock
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 — ASGI's signature
        """ASGI."""
        writer = EventWriter(send, self._clock)
        producing = asyncio.ensure_future(self._producing(writer))
        watching = [asyncio.ensure_future(writer.ping()), asyncio.ensure_future(_gone(receive))]
        try:
            await asyncio.wait({producing, *watching}, timeout=self._limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (producing, *watching):
                task.cancel()
            await asyncio.gather(producing, *watching, return_exceptions=True)
        if not producing.cancelled():
            producing.result()

    async def _producing(self, writer: EventWriter) -> None:
        try:
            await self._produce(writer)
        finally:
            writer.is_over = True


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
