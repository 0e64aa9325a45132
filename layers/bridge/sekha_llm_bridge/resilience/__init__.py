"""What is known of each provider's health: the last check, and the circuit breaker."""

from sekha_llm_bridge.resilience.records import BreakerState, BreakerStatus, CheckResult, HealthStore, ProviderRecord

__all__ = ["BreakerState", "BreakerStatus", "CheckResult", "HealthStore", "ProviderRecord"]
