"""What is known of each provider's health: the last check, the circuit breaker, and pauses that it asked for."""

from sekha_llm_bridge.resilience.breaker import (
    Breaker,
    BreakerState,
    Permit,
    Refusal,
    Source,
    Verdict,
)
from sekha_llm_bridge.resilience.breakers import Breakers, Watch
from sekha_llm_bridge.resilience.cooldowns import Cooldowns
from sekha_llm_bridge.resilience.records import BreakerView, CheckResult, ProviderRecord, Standing
from sekha_llm_bridge.resilience.store import ProviderStore, StoreUnavailable

__all__ = [
    "Breaker",
    "BreakerState",
    "BreakerView",
    "Breakers",
    "CheckResult",
    "Cooldowns",
    "Permit",
    "ProviderRecord",
    "ProviderStore",
    "Refusal",
    "Source",
    "Standing",
    "StoreUnavailable",
    "Verdict",
    "Watch",
]
