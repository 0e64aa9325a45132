"""What serving a request took: who was tried, who answered, what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of one provider. `status` is the provider's HTTP status, None where there was no answer; `code` says
    how it ended.
    """

    provider_id: str
    model_id: str
    code: str
    status: int | None
    reason: str
    latency_ms: int

    def public(self) -> Mapping[str, object]:
        """As callers see it."""
        return {
            "provider_id": self.provider_id,
            "model_id": self.model_id,
            "status": self.status,
            "code": self.code,
            "reason": self.reason,
            "latency_ms": self.latency_ms,
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """The bill and the story of one answered request; costs in USD, None where the price is not known."""

    provider_id: str
    model_id: str
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...]
    estimated_cost: Decimal | None
    cost_bound: Decimal | None
    cost: Decimal | None
    price_source: str | None
    latency_ms: int

    def public(self) -> dict[str, object]:
        """The `bridge` object of an answer."""
        return {
            "provider_id": self.provider_id,
            "model_id": self.model_id,
            "attempts": [attempt.public() for attempt in self.attempts],
            "notes": list(self.notes),
            "estimated_cost": usd(self.estimated_cost),
            "cost_bound": usd(self.cost_bound),
            "cost": usd(self.cost),
            "price_source": self.price_source,
            "latency_ms": self.latency_ms,
        }

    def headers(self) -> dict[str, str]:
        """The same in short, as response headers."""
        headers = {
            "x-bridge-provider": self.provider_id,
            "x-bridge-model": self.model_id.encode("ascii", "replace").decode(),
            "x-bridge-attempts": str(len(self.attempts)),
        }
        return headers if self.cost is None else {**headers, "x-bridge-cost-usd": f"{self.cost:f}"}


def usd(amount: Decimal | None) -> float | None:
    """An amount as a JSON number, which is what callers compute with."""
    return None if amount is None else float(amount)
