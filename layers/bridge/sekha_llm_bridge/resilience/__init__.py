"""What is known of each provider's health: the last check, the circuit breaker, and pauses that it asked for."""

from sekha_llm_bridge.resilience.breaker import (
    Breaker,
    BreakerState,
    Permit,
    PermitSource,
    Refusal,
)
from sekha_llm_bridge.resilience.breakers import Breakers, BreakerSession
from sekha_llm_bridge.resilience.cooldowns import Cooldowns
from sekha_llm_bridge.resilience.records import Availability, BreakerView, CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import ProviderStore, StoreUnavailable

__all__ = [
    "Availability",
    "Breaker",
    "BreakerSession",
    "BreakerState",
    "BreakerView",
    "Breakers",
    "CheckResult",
    "Cooldowns",
    "Permit",
    "PermitSource",
    "ProviderRecord",
    "ProviderStore",
    "Refusal",
    "StoreUnavailable",
]
