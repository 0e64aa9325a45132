"""Virtual time for background tasks: a clock whose `sleep` lets other tasks run, and a loop that is kept between runs."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import VirtualTimeLoop

T = TypeVar("T")


class WaitingClock(FakeClock):
    """A `FakeClock` whose `sleep` waits in the event loop of `virtual_time`, which advances the clock."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class PersistentLoop:
    """Runs coroutines one after the other on one loop, as a function instance does with its invocations.

    Background tasks of one run continue in the next run. The caller must close it.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._runner = asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(clock))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to completion, after the tasks that were ready before it. Waiting takes no real time."""
        return self._runner.run(self._after_ready_tasks(work))

    def close(self) -> None:
        """Cancels the remaining tasks and closes the loop."""
        self._runner.close()

    async def _after_ready_tasks(self, work: Coroutine[Any, Any, T]) -> T:
        for _ in range(5):
            await asyncio.sleep(0)
        return await work
