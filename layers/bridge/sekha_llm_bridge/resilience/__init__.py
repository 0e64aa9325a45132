"""What is known of each provider's health: the last check, the circuit breaker, and pauses that it asked for."""

from sekha_llm_bridge.resilience.breakers import Breakers
from sekha_llm_bridge.resilience.cooldowns import Cooldowns
from sekha_llm_bridge.resilience.records import (
    BreakerState,
    BreakerStatus,
    BreakerView,
    CheckResult,
    HealthStore,
    ProviderRecord,
)

__all__ = [
    "BreakerState",
    "BreakerStatus",
    "BreakerView",
    "Breakers",
    "CheckResult",
    "Cooldowns",
    "HealthStore",
    "ProviderRecord",
]
