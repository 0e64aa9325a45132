"""Time as a collaborator: code that waits or needs the time takes a `Clock`, so that tests control it."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A clock for durations, one for dates, and sleeping."""

    def monotonic_s(self) -> float:
        """Returns seconds on a clock that never goes back; only differences have a meaning."""
        ...

    def now(self) -> datetime:
        """Returns the date and time in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)
