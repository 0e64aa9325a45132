"""A clock that tests control."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A `Clock` whose time changes only by `advance`, `sleep` and `freeze`."""

    def __init__(self) -> None:
        self._monotonic_s = 1000.0
        self._now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._monotonic_s += seconds
        self._now += timedelta(seconds=seconds)

    def freeze(self, seconds: float) -> None:
        """Moves only the wall clock, as when Lambda freezes the environment between two requests."""
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
