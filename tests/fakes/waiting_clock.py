"""Virtual time for background tasks: a clock whose `sleep` lets other tasks run, and an event loop that is kept."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import _Loop

T = TypeVar("T")


class WaitingClock(FakeClock):
    """A `FakeClock` whose `sleep` waits in the event loop, which moves the clock."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LastingLoop:
    """Runs coroutines one after another in one event loop, as a function instance runs its invocations.

    A background task of one continues during the next. Call `close` at the end.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._runner = asyncio.Runner(loop_factory=lambda: _Loop(clock))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` in virtual time, after the tasks that were due before it."""
        return self._runner.run(self._in_turn(work))

    def close(self) -> None:
        """Cancels the remaining tasks."""
        self._runner.close()

    async def _in_turn(self, work: Coroutine[Any, Any, T]) -> T:
        for _ in range(5):
            await asyncio.sleep(0)
        return await work
