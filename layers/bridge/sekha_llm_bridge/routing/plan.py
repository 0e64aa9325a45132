"""What a plan is made of: models with their price for this request, and reasons for leaving models out."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sekha_llm_bridge.providers import PriceCeiling
from sekha_llm_bridge.resilience import BreakerState
from sekha_llm_bridge.routing.catalog import CatalogModel


class ExclusionKind(StrEnum):
    """What kind of thing keeps a model out; it decides which error an empty plan becomes."""

    UNFIT = "unfit"
    COST = "cost"
    BREAKER = "breaker"
    COOLING = "cooling"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a model is left out, in words for people; `retry_after_s` where waiting helps."""

    kind: ExclusionKind
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request would cost with one model, in USD; None where its price is not known.

    `estimate_usd` is the likely cost. `bound_usd` cannot be exceeded with `prompt_tokens` at most and
    `output_cap` output tokens for each answer.
    """

    estimate_usd: Decimal | None
    bound_usd: Decimal | None
    prompt_tokens: int
    output_cap: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to try. `output_cap` is None where the request's own limit stands. `price_ceiling` has the rates that the
    quote's bound counts on, where a limit holds.
    """

    entry: CatalogModel
    quote: Quote
    output_cap: int | None
    price_ceiling: PriceCeiling | None = None


@dataclass(frozen=True, slots=True)
class ConsideredModel:
    """One configured model as `/route` shows it: in the plan, or excluded with a reason."""

    entry: CatalogModel
    quote: Quote
    breaker: BreakerState
    exclusion: Exclusion | None
