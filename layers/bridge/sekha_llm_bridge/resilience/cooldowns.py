"""Pauses that providers asked for with a 429 and a Retry-After: rate limits are of one model, and no failure."""

from collections.abc import Mapping

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.resilience.expiring import Expiring


class Cooldowns:
    """The pauses that this function instance knows of, by (provider id, model id)."""

    def __init__(self, clock: Clock) -> None:
        self._pauses: Expiring[tuple[str, str]] = Expiring(clock)

    def cool(self, provider_id: str, model_id: str, seconds: float) -> None:
        """Lets the model rest for that long."""
        if seconds > 0:
            self._pauses.hold((provider_id, model_id), seconds)

    def left_s(self) -> Mapping[tuple[str, str], float]:
        """Who rests, and for how many more seconds."""
        return self._pauses.left_s()
