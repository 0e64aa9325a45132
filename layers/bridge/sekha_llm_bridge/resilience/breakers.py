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
        self._open_s = open_s

    def open(self, provider_id: str) -> None:
        """Opens a provider's breaker."""
        self._open.hold(provider_id, self._open_s)

    def views(self) -> Mapping[str, BreakerView]:
        """The breakers that are not closed, by provider id."""
        return {key: BreakerView(BreakerState.OPEN, left_s) for key, left_s in self._open.left_s().items()}
