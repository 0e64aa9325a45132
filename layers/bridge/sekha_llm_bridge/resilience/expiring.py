"""Things that hold until a moment, by the wall clock: a frozen environment's monotonic clock may stand still."""

from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from sekha_llm_bridge.clock import Clock

K = TypeVar("K", bound=Hashable)


class Expiring(Generic[K]):
    """Remembers keys, each for some seconds. It holds no more keys than there are providers and models."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[K, datetime] = {}

    def hold(self, key: K, seconds: float) -> None:
        """Remembers `key` for that long from now."""
        self._until[key] = self._clock.now() + timedelta(seconds=seconds)

    def left_s(self) -> dict[K, float]:
        """The keys that still hold, with the seconds that are left to each."""
        if not self._until:
            return {}
        now = self._clock.now()
        self._until = {key: until for key, until in self._until.items() if until > now}
        return {key: (until - now).total_seconds() for key, until in self._until.items()}
