"""Cooldowns: pauses that providers request with status 429 and Retry-After.

A rate limit applies to one model, and is not a failure for the provider's breaker.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sekha_llm_bridge.clock import Clock

_ModelKey = tuple[str, str]  # provider id, model id


class Cooldowns:
    """The cooldowns of this function instance, by (provider id, model id).

    They end by the wall clock, because the monotonic clock may stop while Lambda freezes the environment.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[_ModelKey, datetime] = {}

    def start(self, provider_id: str, model_id: str, seconds: float) -> None:
        """Starts a cooldown of the model, or replaces its current one."""
        if seconds > 0:
            self._until[provider_id, model_id] = self._clock.now() + timedelta(seconds=seconds)

    def remaining_s(self) -> Mapping[_ModelKey, float]:
        """Returns the remaining seconds of every cooldown that has not ended."""
        if not self._until:
            return {}
        now = self._clock.now()
        self._until = {key: until for key, until in self._until.items() if until > now}
        return {key: (until - now).total_seconds() for key, until in self._until.items()}
