"""Circuit breakers: whom not to call for now."""

from collections.abc import Mapping

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.resilience.expiring import Expiring
from sekha_llm_bridge.resilience.records import BreakerState, BreakerView


class Breakers:
    """The breakers that this function instance has opened itself, for failures that no waiting mends.

    A rejected key or an empty account opens one at once, for `open_s` seconds; then the provider is tried again.
    Failures are not counted here.
    """

    def __init__(self, clock: Clock, open_s: float) -> None:
        self._open: Expiring[str] = Expiring(clock)
        self._causes: dict[str, str] = {}
        self._open_s = open_s

    def open(self, provider_id: str, cause: str) -> None:
        """Opens a provider's breaker; `cause` is the code of the failure."""
        self._open.hold(provider_id, self._open_s)
        self._causes[provider_id] = cause

    def views(self) -> Mapping[str, BreakerView]:
        """The breakers that are not closed, by provider id."""
        left_s = self._open.left_s()
        return {key: BreakerView(BreakerState.OPEN, seconds, self._causes[key]) for key, seconds in left_s.items()}
