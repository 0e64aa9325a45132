"""The health report of a bridge, parsed.

A bridge of another version may omit fields, send null or add fields. Only the statuses are always present.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

_WITHOUT_KEY = "the bridge shows its providers to callers with a valid key: --api-key or SEKHA_BRIDGE_API_KEY"


class Overall(StrEnum):
    """The status of the whole bridge."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


Time = Annotated[datetime, AfterValidator(_aware)]  # a time without offset is UTC


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Breaker(_Part):
    """A circuit breaker. `cause`: the error code of the failure that opened it. `retry_at`: when it may be probed."""

    state: str | None = None
    failure_count: int | None = None
    last_failure: Time | None = None
    cause: str | None = None
    retry_at: Time | None = None


class ProviderHealth(_Part):
    """One provider: the result of its last check (`error` is a code), and its breaker. `reason`: why it is disabled or
    pending.
    """

    status: str
    models_count: int | None = None
    circuit_breaker: Breaker | None = None
    latency_ms: float | None = None
    last_checked: Time | None = None
    error: str | None = None
    reason: str | None = None

    @property
    def breaker(self) -> Breaker:
        """The breaker; without any values when the report has none."""
        return self.circuit_breaker or Breaker()


class HealthReport(_Part):
    """The whole report. `notes`: remarks about the report itself. The providers are in the bridge's order."""

    status: Overall
    version: str | None = None
    notes: tuple[str, ...] | None = None
    providers: Mapping[str, ProviderHealth]

    @model_validator(mode="before")
    @classmethod
    def _accept_without_key(cls, document: Any) -> Any:
        """Accepts the report for who sends no valid key: only the status and the version."""
        if isinstance(document, dict) and document.keys() == {"status", "version"}:
            return {**document, "notes": [_WITHOUT_KEY], "providers": {}}
        return document

    @property
    def hides_providers(self) -> bool:
        """Whether the bridge did not show its providers, because it got no valid key."""
        return self.notes == (_WITHOUT_KEY,)
