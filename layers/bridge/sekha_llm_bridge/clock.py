"""The clock that is passed to all code that reads the time or waits, so that tests can control time."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Reads the time, for durations and for dates, and waits."""

    def monotonic_s(self) -> float:
        """Returns seconds on a clock that never goes back. Only the difference of two readings has a meaning."""
        ...

    def now(self) -> datetime:
        """Returns the date and time in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits for `seconds`."""
        ...


class SystemClock:
    """The `Clock` that uses the clocks of the system and the sleep of asyncio."""

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)
