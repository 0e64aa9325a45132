"""What a request asks of a model, in the planner's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.pricing import TokenCount
from sekha_llm_bridge.providers import RequestedFeature
from sekha_llm_bridge.resilience import Availability, BreakerView


@dataclass(frozen=True, slots=True)
class ImageNeeds:
    """The images of a request: how many, the media subtypes of those sent inline, and whether any is only named by
    URL.
    """

    count: int = 0
    formats: frozenset[str] = frozenset()
    largest_bytes: int = 0
    by_url: bool = False


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """One request to plan for.

    `task` None means any chat model. `pinned` is the only model allowed; `preferred` goes first if it qualifies.
    `output_tokens` is the most the request allows, None where it does not say; `answers` is OpenAI's `n`.
    `requested_features` are the features that not every adapter supports;
    `features_with_unbounded_cost` what
    may be billed beyond any count made beforehand. `context_tokens` and `dimensions` are the least that a model must
    have. `space` is the embedding space that the vectors must be of; None leaves it to the default model.
    """

    task: Task | None
    prompt: TokenCount
    output_tokens: int | None = None
    answers: int = 1
    pinned: str | None = None
    preferred: str | None = None
    needs_vision: bool = False
    needs_audio: bool = False
    needs_tools: bool = False
    images: ImageNeeds = ImageNeeds()
    requested_features: frozenset[RequestedFeature] = frozenset()
    features_with_unbounded_cost: frozenset[str] = frozenset()
    max_cost_usd: Decimal | None = None
    context_tokens: int = 0
    dimensions: int | None = None
    space: str | None = None


@dataclass(frozen=True, slots=True)
class RoutingContext:
    """What the configuration sets for every request, and what is known of the providers now.

    `breakers` is by provider id (absent: closed); `cooling_s` by (provider id, model id): how many seconds a provider
    has asked not to be called for that model.
    """

    cost_aware: bool = True
    max_cost_usd: Decimal | None = None
    min_output_tokens: int = 64
    breakers: Mapping[str, BreakerView] = field(default_factory=dict)
    cooling_s: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def shut_out(self) -> Mapping[str, BreakerView]:
        """The breakers that let nobody through now."""
        return {key: view for key, view in self.breakers.items() if view.standing is Availability.BLOCKED}

    @property
    def deprioritized_providers(self) -> frozenset[str]:
        """The providers that are tried only when nobody else is left: the scheduled checks probe them."""
        return frozenset(key for key, view in self.breakers.items() if view.standing is Availability.LAST_RESORT)
