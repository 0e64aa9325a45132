"""The parts of a plan: candidates with their cost for this request, and exclusions with their reason."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sekha_llm_bridge.providers import PriceCeiling
from sekha_llm_bridge.resilience import BreakerState
from sekha_llm_bridge.routing.catalog import CatalogModel


class ExclusionKind(StrEnum):
    """Why a model is excluded; the kind decides which error an empty plan becomes. `PENDING`: its provider's secret
    could not be fetched yet.
    """

    NOT_CAPABLE = "not_capable"
    CONTEXT = "context"
    COST = "cost"
    BREAKER = "breaker"
    COOLDOWN = "cooldown"
    PENDING = "pending"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a model is excluded, in words for people. `retry_after_s`: after that time it may not be any more."""

    kind: ExclusionKind
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request would cost with one model, in USD; None where its price is unknown.

    `bound_usd` is the upper bound, for at most `prompt_tokens` and for `output_cap` output tokens of each choice.
    """

    estimate_usd: Decimal | None
    bound_usd: Decimal | None
    prompt_tokens: int
    output_cap: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to try. `output_cap` is the output limit to send; None where the request's own limit is enough.
    `price_ceiling` has the rates on which the quote's upper bound relies, under a cost limit. `marks_prefix`: its
    adapter marks the beginning of the prompt for the cache.
    """

    entry: CatalogModel
    quote: Quote
    output_cap: int | None
    price_ceiling: PriceCeiling | None = None
    marks_prefix: bool = False


@dataclass(frozen=True, slots=True)
class ConsideredModel:
    """One configured model as `/route` shows it: a candidate, or excluded with a reason."""

    entry: CatalogModel
    quote: Quote
    breaker: BreakerState
    exclusion: Exclusion | None
