"""One record for each provider, shared by every function instance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class BreakerState(StrEnum):
    """Closed lets requests through, open does not, half-open lets one probe through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A breaker as a caller sees it."""

    state: BreakerState = BreakerState.CLOSED
    failure_count: int = 0
    last_failure: datetime | None = None


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A breaker as the planner sees it; `retry_after_s` says when one that is open may let a request through again,
    `cause` is the code of the failure that opened it.
    """

    state: BreakerState
    retry_after_s: float = 0.0
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one scheduled check of one provider found; `latency_ms` is None when it did not answer, `error` is then
    its code.
    """

    provider_id: str
    healthy: bool
    latency_ms: int | None
    checked_at: datetime
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """What is stored of one provider; `check` is None before the first check."""

    check: CheckResult | None = None
    breaker: BreakerStatus = BreakerStatus()


class HealthStore(Protocol):
    """Where the records are. Methods block for a short, bounded time; call them in a thread."""

    def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """The record of each provider that has one. Raises `StoreUnavailable`."""
        ...

    def record_check(self, result: CheckResult) -> None:
        """Keeps the result of a check; the breaker's part of the record is left as it is. Raises `StoreUnavailable`."""
        ...


class StoreUnavailable(Exception):
    """The store did not answer in its time."""
