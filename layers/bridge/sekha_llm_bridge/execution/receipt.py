"""The receipt of one answered plan: which model answered, after which attempts, and at what cost."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.execution.attempts import NO_COST, Attempt, cost_bound_usd, known_cost_usd, spent_usd, usd
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.routing import Candidate, RoutePlan


class Receipt(NamedTuple):
    """The attempts, the model and the cost of one answer. Amounts are in USD, None where a price is unknown.

    `cost` is the sum of all attempts whose cost is known, `cost_bound` the maximum cost of all of them.
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
        """Returns the `bridge` object of an answer."""
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


def make_receipt(
    plan: RoutePlan, candidate: Candidate, attempts: Sequence[Attempt], latency_ms: int, *, notes: Sequence[str] = ()
) -> Receipt:
    """Returns the receipt of the answer that `candidate` gave in the last of the plan's attempts."""
    entry, quote = candidate.entry, candidate.quote
    return Receipt(
        provider_id=entry.provider.id,
        model_id=entry.model.model_id,
        attempts=tuple(attempts),
        notes=(*plan.notes, *notes, *_notes_on_cost(plan, attempts, quote.bound_usd)),
        estimated_cost=quote.estimate_usd,
        cost_bound=_bound_with_quote_usd(attempts, quote.bound_usd),
        cost=known_cost_usd(attempts),
        price_source=entry.price.source if entry.price else None,
        latency_ms=latency_ms,
    )


def _bound_with_quote_usd(attempts: Sequence[Attempt], quoted_usd: Decimal | None) -> Decimal | None:
    """Returns the maximum cost of all attempts, with the quoted bound of the last one, or its cost if higher."""
    bound_usd = cost_bound_usd(attempts)
    if quoted_usd is None or bound_usd is None:
        return None
    last_usd = attempts[-1].cost_bound_usd or NO_COST
    return bound_usd + max(quoted_usd - last_usd, NO_COST)


def _notes_on_cost(plan: RoutePlan, attempts: Sequence[Attempt], quoted_usd: Decimal | None) -> Iterator[str]:
    interrupted = [attempt for attempt in attempts if attempt.cost_usd is None]
    if interrupted and (unknown_usd := spent_usd(interrupted)):
        yield f"interrupted attempts may have been billed, too: up to ${usd_text(unknown_usd)}"
    cost_usd = attempts[-1].cost_usd
    if plan.request.features_with_unbounded_cost:
        return
    if quoted_usd is not None and cost_usd is not None and cost_usd > quoted_usd:
        provider_id = attempts[-1].provider_id
        yield f"{provider_id} ignored the output limit: it billed more than ${usd_text(quoted_usd)}"


def answer_headers(provider_id: str, model_id: str, attempts: int, cost_usd: Decimal | None) -> dict[str, str]:
    """Returns the headers that name the model that answers, the number of attempts, and the cost where it is known."""
    return {
        "x-bridge-provider": provider_id,
        "x-bridge-model": model_id.encode("ascii", "replace").decode(),
        **cost_headers(attempts, cost_usd),
    }


def cost_headers(attempts: int, cost_usd: Decimal | None) -> dict[str, str]:
    """Returns the headers that answers and errors share; no cost where it is not known."""
    headers = {"x-bridge-attempts": str(attempts)}
    return headers if cost_usd is None else {**headers, "x-bridge-cost-usd": f"{cost_usd:f}"}
