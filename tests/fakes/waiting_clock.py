"""A clock for `virtual_time.run`: whoever sleeps lets the others work meanwhile."""

import asyncio

from tests.fakes.clock import FakeClock


class WaitingClock(FakeClock):
    """A `FakeClock` whose `sleep` waits in the loop, which moves the clock."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
