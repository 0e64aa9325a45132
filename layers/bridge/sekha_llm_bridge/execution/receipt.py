"""What serving a request took: who was tried, who answered, what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of one provider. `status` is the provider's HTTP status, None where there was no answer; `code` says
    how it ended.

    `cost_usd` is its bill, None where nobody knows it: the price, or whether a provider bills what broke off.
    `cost_bound_usd` is what it may have cost then, as far as that can be bounded.
    """

    provider_id: str
    model_id: str
    code: str
    status: int | None
    reason: str
    latency_ms: int
    cost_usd: Decimal | None
    cost_bound_usd: Decimal | None

    def public(self) -> Mapping[str, object]:
        """As callers see it."""
        return {
            "provider_id": self.provider_id,
            "model_id": self.model_id,
            "status": self.status,
            "code": self.code,
            "reason": self.reason,
            "latency_ms": self.latency_ms,
            "cost": usd(self.cost_usd),
            "cost_bound": usd(self.cost_bound_usd),
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """The bill and the story of one answered request; costs in USD, None where the price is not known.

    `cost` is the sum of all attempts whose bill is known, `cost_bound` what all of them together cannot exceed.
    """

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
        return answer_headers(self.provider_id, self.model_id, len(self.attempts), self.cost)


def answer_headers(provider_id: str, model_id: str, attempts: int, cost_usd: Decimal | None) -> dict[str, str]:
    """Who answers, after how many attempts, and what it cost where that is known by now."""
    return {
        "x-bridge-provider": provider_id,
        "x-bridge-model": model_id.encode("ascii", "replace").decode(),
        **cost_headers(attempts, cost_usd),
    }


def cost_headers(attempts: int, cost_usd: Decimal | None) -> dict[str, str]:
    """What answers and errors alike say of the attempts made; no cost where it is not known."""
    headers = {"x-bridge-attempts": str(attempts)}
    return headers if cost_usd is None else {**headers, "x-bridge-cost-usd": f"{cost_usd:f}"}


def usd(amount: Decimal | None) -> float | None:
    """An amount as a JSON number, which is what callers compute with."""
    return None if amount is None else float(amount)
