"""What is stored for each provider, shared by all function instances, and how the planner sees it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sekha_llm_bridge.resilience.breaker import Breaker, BreakerState, CheckTrust, PermitSource, refusal

_DEFAULT_BREAKER = Breaker()
CHECK_MAX_AGE = timedelta(seconds=150)
"""How long a check's result is used: two and a half intervals of the scheduled check."""

DISABLED = "disabled"
"""The `error` of a check of a provider whose secret is absent or denied."""

PENDING = "pending"
"""The `error` of a check of a provider whose secret could not be fetched yet."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one scheduled check. If it is not healthy, `latency_ms` is None and `error` is an error code.

    A check that was refused, for example because of its key, is not conclusive: a request might still succeed. A
    provider whose secret is missing is not called; `unusable_because` says why, and `error` is DISABLED or PENDING.
    """

    provider_id: str
    is_healthy: bool
    latency_ms: int | None
    checked_at: datetime
    error: str | None = None
    is_conclusive: bool = True
    unusable_because: str | None = None


class Availability(Enum):
    """How a plan treats a provider whose breaker is not closed.

    `BLOCKED`: no call before `retry_after_s`. `LAST_RESORT`: a request may probe, but scheduled checks will do so too,
    so the provider is tried last. `PROBE_DUE`: a request may probe, and no check will, so it keeps its usual place.
    """

    BLOCKED = "blocked"
    LAST_RESORT = "last_resort"
    PROBE_DUE = "probe_due"


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A breaker that is not closed, as the planner sees it. `cause` is the code of the last failure."""

    state: BreakerState
    availability: Availability = Availability.BLOCKED
    retry_after_s: float = 0.0
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """What is stored for one provider. `check` is None before the first check."""

    check: CheckResult | None = None
    breaker: Breaker = _DEFAULT_BREAKER

    def fresh_check(self, now: datetime) -> CheckResult | None:
        """Returns the last check, or None if it is older than `CHECK_MAX_AGE`."""
        return self.check if self.check and now - self.check.checked_at < CHECK_MAX_AGE else None

    def view(self, now: datetime) -> BreakerView | None:
        """Returns the planner's view of the breaker, or None if it is closed."""
        breaker = self.breaker
        if breaker.state is BreakerState.CLOSED:
            return None
        if (refused := refusal(breaker, PermitSource.REQUEST, now)) is not None:
            return BreakerView(breaker.state, Availability.BLOCKED, refused.retry_after_s, breaker.cause)
        check = self.fresh_check(now)
        is_checked = check is not None and check.is_conclusive and breaker.check_trust is not CheckTrust.DISTRUSTED
        availability = Availability.LAST_RESORT if is_checked else Availability.PROBE_DUE
        return BreakerView(breaker.state, availability, 0.0, breaker.cause)
