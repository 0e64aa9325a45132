"""Circuit breakers, scheduled checks and cooldowns of the providers."""

from sekha_llm_bridge.resilience.breaker import (
    Breaker,
    BreakerState,
    Permit,
    PermitSource,
    Refusal,
)
from sekha_llm_bridge.resilience.breakers import DEFAULT_TABLE_TIMEOUT_S, Breakers, BreakerSession
from sekha_llm_bridge.resilience.cooldowns import Cooldowns
from sekha_llm_bridge.resilience.records import (
    DISABLED,
    PENDING,
    Availability,
    BreakerView,
    CheckResult,
    ProviderRecord,
)
from sekha_llm_bridge.resilience.store import ProviderStore, StoreUnavailable
from sekha_llm_bridge.resilience.unsupported_features import UnsupportedFeatures

__all__ = [
    "DEFAULT_TABLE_TIMEOUT_S",
    "DISABLED",
    "PENDING",
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
    "UnsupportedFeatures",
]
