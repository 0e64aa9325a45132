"""Events as an ASGI answer, in virtual time: the silences, who leaves, who does not read, and what fails."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sekha_llm_bridge.api.sse import ConnectionClosed, EventResponse, EventWriter, event
from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import run

PING = b": ping\n\n"


class LoopClock(FakeClock):
    """Sleeps by the loop, whose time it is."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


class Listener:
    """The other side: what it got and when; it leaves after a while, or stops reading at some event."""

    def __init__(self, clock: FakeClock, *, leaves_after_s: float | None = None, reads: int | None = None) -> None:
        self._clock = clock
        self._leaves_after_s = leaves_after_s
        self._reads = reads
        self._began_s = clock.monotonic_s()
        self.head: dict[str, Any] | None = None
        self.got: list[tuple[float, bytes]] = []
        self.is_complete = False
        self.has_left = False

    async def receive(self) -> dict[str, Any]:
        if self._leaves_after_s is None:
            await asyncio.Event().wait()
        await asyncio.sleep(self._leaves_after_s or 0)
        self.has_left = True
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.has_left:
            raise OSError("gone")
        if message["type"] == "http.response.start":
            assert self.head is None, "an answer begins once"
            self.head = message
            return
        assert self.head is not None
        assert not self.is_complete
        if self._reads is not None and len(self.got) >= self._reads:
            await asyncio.Event().wait()
        self.got.append((self._clock.monotonic_s() - self._began_s, message["body"]))
        self.is_complete = not message.get("more_body", False)


def answered(
    produce: Callable[[EventWriter], Awaitable[None]], listener: Listener, clock: FakeClock, timeout_s: float = 900
) -> Listener:
    response = EventResponse(produce, clock, timeout_s=timeout_s)
    run(response({"type": "http"}, listener.receive, listener.send), clock)
    return listener


def test_a_ping_is_sent_after_every_five_seconds_of_silence_only(clock: LoopClock) -> None:
    async def produce(writer: EventWriter) -> None:
        await writer.write(b"a")
        await asyncio.sleep(4)
        await writer.write(b"b")
        await asyncio.sleep(12)
        await writer.write(b"c", is_last=True)

    listener = answered(produce, Listener(clock), clock)
    assert listener.got == [(0, b"a"), (4, b"b"), (9, PING), (14, PING), (16, b"c")]
    assert listener.is_complete


def test_a_ping_before_the_first_event_sends_the_response_head(clock: LoopClock) -> None:
    async def produce(writer: EventWriter) -> None:
        await asyncio.sleep(7)
        writer.headers = {"x-bridge-provider": "late"}
        await writer.write(b"a", is_last=True)

    listener = answered(produce, Listener(clock), clock)
    assert listener.got == [(5, PING), (7, b"a")]
    assert listener.head is not None
    assert listener.head["status"] == 200
    assert b"x-bridge-provider" not in dict(listener.head["headers"])


def test_headers_that_are_known_in_time_are_sent(clock: LoopClock) -> None:
    async def produce(writer: EventWriter) -> None:
        writer.headers = {"x-bridge-provider": "first"}
        await writer.write(b"a", is_last=True)

    listener = answered(produce, Listener(clock), clock)
    assert listener.head is not None
    assert dict(listener.head["headers"])[b"x-bridge-provider"] == b"first"


def test_an_error_before_the_first_event_is_raised_and_nothing_is_sent(clock: LoopClock) -> None:
    async def produce(_writer: EventWriter) -> None:
        raise ValueError("x")

    listener = Listener(clock)
    with pytest.raises(ValueError, match="x"):
        answered(produce, listener, clock)
    assert (listener.head, listener.got) == (None, [])


@pytest.mark.parametrize("after_s", [0.0, 3.0, 8.0])
def test_a_client_disconnect_cancels_the_writer_at_once(clock: LoopClock, after_s: float) -> None:
    cancelled_at_s = []

    async def produce(writer: EventWriter) -> None:
        try:
            await writer.write(b"a")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled_at_s.append(clock.monotonic_s())
            raise

    began_s = clock.monotonic_s()
    listener = answered(produce, Listener(clock, leaves_after_s=after_s), clock)
    assert cancelled_at_s == [began_s + after_s]
    assert not listener.is_complete


def test_a_disconnect_that_only_a_write_detects_cancels_the_writer(clock: LoopClock) -> None:
    seen: list[str] = []

    async def produce(writer: EventWriter) -> None:
        await writer.write(b"a")
        listener.has_left = True
        with pytest.raises(ConnectionClosed):
            await writer.write(b"b")
        seen.append("noticed")

    listener = Listener(clock)
    answered(produce, listener, clock)
    assert seen == ["noticed"]


def test_a_failed_ping_cancels_the_writer(clock: LoopClock) -> None:
    cancelled: list[float] = []

    async def produce(writer: EventWriter) -> None:
        await writer.write(b"a")
        listener.has_left = True
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(clock.monotonic_s() - began_s)
            raise

    listener, began_s = Listener(clock), clock.monotonic_s()
    answered(produce, listener, clock)
    assert cancelled == [5]


def test_a_client_that_stops_reading_is_disconnected_at_the_timeout(clock: LoopClock) -> None:
    cancelled: list[float] = []

    async def produce(writer: EventWriter) -> None:
        try:
            for _ in range(5):
                await writer.write(b"a")
        except asyncio.CancelledError:
            cancelled.append(clock.monotonic_s() - began_s)
            raise

    began_s = clock.monotonic_s()
    listener = answered(produce, Listener(clock, reads=2), clock, timeout_s=30)
    assert (cancelled, len(listener.got), listener.is_complete) == ([30], 2, False)


def test_an_error_at_the_moment_of_a_ping_is_raised_as_before_the_first_event(clock: LoopClock) -> None:
    async def produce(_writer: EventWriter) -> None:
        await asyncio.sleep(5)
        raise ValueError("x")

    listener = Listener(clock)
    with pytest.raises(ValueError, match="x"):
        answered(produce, listener, clock)
    assert (listener.head, listener.got) == (None, [])


def test_a_ping_that_waited_for_an_event_is_not_sent_after_it(clock: LoopClock) -> None:
    class Slow(Listener):
        async def send(self, message: Any) -> None:
            await asyncio.sleep(7 if message.get("body") == b"b" else 0)
            await super().send(message)

    async def produce(writer: EventWriter) -> None:
        await writer.write(b"a")
        await writer.write(b"b")
        await asyncio.sleep(3)
        await writer.write(b"c", is_last=True)

    listener = Slow(clock)
    answered(produce, listener, clock)
    assert listener.got == [(0, b"a"), (7, b"b"), (10, b"c")]


def test_an_event_is_one_line_of_json_whatever_is_in_it() -> None:
    assert event({"text": "a\r\nb\n\n", "é": 1}) == 'data: {"text":"a\\r\\nb\\n\\n","é":1}\n\n'.encode()
