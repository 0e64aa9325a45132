"""Virtual time for what goes on in the background: a clock whose sleepers let others work, and a loop that lasts."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import _Loop

T = TypeVar("T")


class WaitingClock(FakeClock):
    """A `FakeClock` whose `sleep` waits in the loop, which moves the clock."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LastingLoop:
    """Runs one piece of work after the other, as a function instance does with its invocations: what one leaves undone
    goes on in the next. Whoever made it closes it.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._runner = asyncio.Runner(loop_factory=lambda: _Loop(clock))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to its end in no time, after whatever was due before it."""
        return self._runner.run(self._in_turn(work))

    def close(self) -> None:
        """Ends what is undone."""
        self._runner.close()

    async def _in_turn(self, work: Coroutine[Any, Any, T]) -> T:
        for _ in range(5):
            await asyncio.sleep(0)
        return await work
