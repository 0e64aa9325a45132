"""Quotas: what an API key, or the whole bridge, may use in a period, counted over all function instances."""

from sekha_llm_bridge.access.quotas.account import NO_HOLD, PICO_USD, Account, Counter, Hold, Quota, Shortage, pico_usd
from sekha_llm_bridge.access.quotas.quotas import Quotas
from sekha_llm_bridge.access.quotas.store import QuotaStore, QuotasUnavailable

__all__ = [
    "NO_HOLD",
    "PICO_USD",
    "Account",
    "Counter",
    "Hold",
    "Quota",
    "QuotaStore",
    "Quotas",
    "QuotasUnavailable",
    "Shortage",
    "pico_usd",
]
