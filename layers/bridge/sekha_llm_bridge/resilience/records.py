"""What is stored of each provider, shared by every function instance, and what the planner makes of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sekha_llm_bridge.resilience.breaker import Breaker, BreakerState, CheckTrust, PermitSource, refusal

_UNTOUCHED = Breaker()
CHECK_MAX_AGE = timedelta(seconds=150)
"""How long a check says anything of its provider: two and a half of its rounds."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one scheduled check of one provider found; when it is not healthy, `latency_ms` is None, `error` its code.

    A check that was refused, by its key for one, is not `is_conclusive`: it says nothing of what a request would meet.
    """

    provider_id: str
    is_healthy: bool
    latency_ms: int | None
    checked_at: datetime
    error: str | None = None
    is_conclusive: bool = True


class Availability(Enum):
    """What a breaker that is not closed means for a plan."""

    BLOCKED = "blocked"
    LAST_RESORT = "last_resort"
    PROBE_DUE = "probe_due"


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A breaker that is not closed, as the planner sees it.

    One that is shut out may let a request through in `retry_after_s`. One that a request may probe is a last resort
    while scheduled checks look after it, and in its usual place where none does. `cause` is the last failure's code.
    """

    state: BreakerState
    availability: Availability = Availability.BLOCKED
    retry_after_s: float = 0.0
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """What is stored of one provider; `check` is None before the first check."""

    check: CheckResult | None = None
    breaker: Breaker = _UNTOUCHED

    def fresh_check(self, now: datetime) -> CheckResult | None:
        """The last check, unless it is too old to say anything."""
        return self.check if self.check and now - self.check.checked_at < CHECK_MAX_AGE else None

    def view(self, now: datetime) -> BreakerView | None:
        """How the planner sees the breaker; None for a closed one."""
        breaker = self.breaker
        if breaker.state is BreakerState.CLOSED:
            return None
        if (refused := refusal(breaker, PermitSource.REQUEST, now)) is not None:
            return BreakerView(breaker.state, Availability.BLOCKED, refused.retry_after_s, breaker.cause)
        availability = Availability.LAST_RESORT if self._is_looked_after(now) else Availability.PROBE_DUE
        return BreakerView(breaker.state, availability, 0.0, breaker.cause)

    def _is_looked_after(self, now: datetime) -> bool:
        """Whether the scheduled checks will find out that the provider is back, so that no request need risk it."""
        check = self.fresh_check(now)
        return check is not None and check.is_conclusive and self.breaker.check_trust is not CheckTrust.DISTRUSTED
