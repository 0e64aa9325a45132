"""The health report as a bridge answers it, parsed.

Bridges older or newer than this command leave fields out, send null for them or add others; only the statuses are
always there.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Overall(StrEnum):
    """How the bridge as a whole does."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


Time = Annotated[datetime, AfterValidator(_aware)]  # without an offset it is UTC


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Breaker(_Part):
    """A circuit breaker: `cause` is the code of the failure that opened it, `retry_at` when it may be probed."""

    state: str | None = None
    failure_count: int | None = None
    last_failure: Time | None = None
    cause: str | None = None
    retry_at: Time | None = None


class ProviderHealth(_Part):
    """One provider: what its last check found (`error` is a code), and its breaker."""

    status: str
    models_count: int | None = None
    circuit_breaker: Breaker | None = None
    latency_ms: float | None = None
    last_checked: Time | None = None
    error: str | None = None

    @property
    def breaker(self) -> Breaker:
        """Its breaker; one of which nothing is known where the report has none."""
        return self.circuit_breaker or Breaker()


class HealthReport(_Part):
    """The whole report; `notes` are about itself. The providers keep the bridge's order."""

    status: Overall
    version: str | None = None
    notes: tuple[str, ...] | None = None
    providers: Mapping[str, ProviderHealth]
