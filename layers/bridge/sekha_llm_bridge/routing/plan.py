"""The planner's answer: the models to try, in order, and the reason for each that is left out."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sekha_llm_bridge.resilience import BreakerState
from sekha_llm_bridge.routing.catalog import CatalogModel


class Barrier(StrEnum):
    """What kind of thing keeps a model out; it decides which error an empty plan becomes."""

    UNFIT = "unfit"
    COST = "cost"
    BREAKER = "breaker"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a model is left out, in words for people."""

    barrier: Barrier
    reason: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request would cost with one model, in USD; None where its price is not known.

    `estimate_usd` is the likely cost. `bound_usd` cannot be exceeded with `output_cap` output tokens for each answer.
    """

    estimate_usd: Decimal | None
    bound_usd: Decimal | None
    output_cap: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to try. `output_cap` is None where the request's own limit stands."""

    entry: CatalogModel
    quote: Quote
    output_cap: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One configured model as `/route` shows it: in the plan, or excluded with a reason."""

    entry: CatalogModel
    quote: Quote
    breaker: BreakerState
    exclusion: Exclusion | None


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """`candidates` in the order to try; `listings` has every configured model, the candidates first."""

    candidates: tuple[Candidate, ...]
    listings: tuple[Listing, ...]
    notes: tuple[str, ...]
    limit_usd: Decimal | None

    def excluded_by(self, barrier: Barrier) -> tuple[Listing, ...]:
        """The listings that one kind of barrier keeps out."""
        return tuple(row for row in self.listings if row.exclusion is not None and row.exclusion.barrier is barrier)
