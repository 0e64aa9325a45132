"""What the planner knows of a request, and of the state in which it plans."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from sekha_llm_bridge.access.caller import BudgetLimit
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.pricing import TokenCount
from sekha_llm_bridge.providers import RequestedFeature
from sekha_llm_bridge.resilience import Availability, BreakerView
from sekha_llm_bridge.routing.model_refs import ModelRef


@dataclass(frozen=True, slots=True)
class ImageNeeds:
    """The images of a request: their number, the media subtypes of those sent inline, and whether any is given by
    URL."""

    count: int = 0
    formats: frozenset[str] = frozenset()
    largest_bytes: int = 0
    by_url: bool = False


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """One request to plan for.

    `task` None means any chat model. `preferred` are the models to try first, in order, if they qualify; then follow
    those that the request names, `named`. If `is_pinned`, no other model than a named one may answer.
    `output_tokens` is the maximum for one choice, None where the request does not say; `n_choices` is OpenAI's `n`.
    `requested_features` are the features that not every adapter supports; `features_with_unbounded_cost` those that are
    known to cost more than can be bounded in advance. `gateway_fields` are the fields that some providers refuse (see
    `providers.gateway_fields`). `spent_usd` is what earlier calls of the same request may have cost, `billed_usd` what
    they are known to have cost. `output_limit` is the configured maximum of output tokens for one choice.
    `used_features` are what a model may have rejected before: `images`, `tools`, `audio`, `response_format` (a JSON
    schema), and the names of the request's fields. `context_tokens` and `dimensions` are the minimum that a model must
    have. `space` is the embedding space that the vectors must have; None is that of the default model. `longest_input`
    is the index of the longest text of an embedding request. `is_output_needed`: a model must have room for all of
    `output_tokens`; else they are only the most that the caller takes, and a model with less room gets a lower limit.
    `exact_prompt_tokens` has the prompt's tokens as its
    provider has counted them, images and documents included, by (provider id, model id).
    """

    task: Task | None
    prompt: TokenCount
    output_tokens: int | None = None
    n_choices: int = 1
    named: tuple[ModelRef, ...] = ()
    is_pinned: bool = True
    preferred: tuple[ModelRef, ...] = ()
    needs_vision: bool = False
    needs_audio: bool = False
    needs_tools: bool = False
    images: ImageNeeds = ImageNeeds()
    requested_features: frozenset[RequestedFeature] = frozenset()
    features_with_unbounded_cost: frozenset[str] = frozenset()
    gateway_fields: frozenset[str] = frozenset()
    max_cost_usd: Decimal | None = None
    spent_usd: Decimal = Decimal(0)
    billed_usd: Decimal = Decimal(0)
    output_limit: int | None = None
    context_tokens: int = 0
    dimensions: int | None = None
    space: str | None = None
    used_features: frozenset[str] = frozenset()
    longest_input: int | None = None
    is_output_needed: bool = True
    exact_prompt_tokens: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def allowed_output_tokens(self) -> int | None:
        """The maximum of output tokens for one choice, by request and configuration; None where neither says."""
        if self.output_limit is None or self.output_tokens is None:
            return self.output_limit or self.output_tokens
        return min(self.output_limit, self.output_tokens)

    @property
    def pinned(self) -> tuple[ModelRef, ...]:
        """The only models that may answer; empty where any may."""
        return self.named if self.is_pinned else ()

    @property
    def first_choices(self) -> tuple[ModelRef, ...]:
        """The models to try first, in order."""
        return (*self.preferred, *self.named)


@dataclass(frozen=True, slots=True)
class RoutingContext:
    """The routing configuration, and the present state of the providers.

    `max_cost_usd` is the limit that the configuration or the caller's key sets for every request;
    `default_max_cost_usd` the one that applies where the configuration sets none (see `CostLimit`). `max_output_tokens`
    is the maximum for one choice. `budget` is the smallest whole budget of the caller and of the bridge. It is a
    limit, too: what cannot be bounded cannot be reserved.

    `breakers` has the breakers that are not closed, by provider id. `cooldowns_s` has the seconds for which a provider
    has asked not to be called for a model, by (provider id, model id); `unsupported` the features that a model has
    rejected lately. `served_before` is the (provider id, model id) that has lately answered a request whose prompt
    began as this one does, and may have cached that; None: no model has.
    """

    cost_aware: bool = True
    max_cost_usd: Decimal | None = None
    default_max_cost_usd: Decimal | None = None
    max_output_tokens: int | None = None
    budget: BudgetLimit | None = None
    min_output_tokens: int = 64
    breakers: Mapping[str, BreakerView] = field(default_factory=dict)
    cooldowns_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    unsupported: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    served_before: tuple[str, str] | None = None

    @property
    def blocked_breakers(self) -> Mapping[str, BreakerView]:
        """The breakers that allow no request now."""
        return {key: view for key, view in self.breakers.items() if view.availability is Availability.BLOCKED}

    @property
    def deprioritized_providers(self) -> frozenset[str]:
        """The providers that are tried last, because the scheduled checks probe them."""
        return frozenset(key for key, view in self.breakers.items() if view.availability is Availability.LAST_RESORT)
