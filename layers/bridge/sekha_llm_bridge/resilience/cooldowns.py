"""Pauses that providers asked for with a 429 and a Retry-After: rate limits are of one model, and no failure."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sekha_llm_bridge.clock import Clock

_Key = tuple[str, str]


class Cooldowns:
    """The pauses that this function instance knows of, by (provider id, model id).

    They end by the wall clock: a frozen environment's monotonic clock may stand still.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[_Key, datetime] = {}

    def start(self, provider_id: str, model_id: str, seconds: float) -> None:
        """Lets the model rest for that long."""
        if seconds > 0:
            self._until[provider_id, model_id] = self._clock.now() + timedelta(seconds=seconds)

    def remaining_s(self) -> Mapping[_Key, float]:
        """Who rests, and for how many more seconds."""
        if not self._until:
            return {}
        now = self._clock.now()
        self._until = {key: until for key, until in self._until.items() if until > now}
        return {key: (until - now).total_seconds() for key, until in self._until.items()}
