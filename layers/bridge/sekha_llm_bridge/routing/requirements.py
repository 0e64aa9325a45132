"""What a request requires of a model: each requirement decides for a model, and has the reason for excluding it.

Only what a request really needs becomes a requirement, because each is checked for every configured model.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.conversation import CacheLifetime
from sekha_llm_bridge.media.inspect import COMMON_FORMATS, format_names
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.providers import UNSUPPORTED_FIELDS, refused_fields
from sekha_llm_bridge.resilience import BreakerState, BreakerView, Refusal
from sekha_llm_bridge.routing import cost_quotes
from sekha_llm_bridge.routing.catalog import CatalogModel
from sekha_llm_bridge.routing.cost_limit import CostLimit
from sekha_llm_bridge.routing.model_refs import names_of, place_in
from sekha_llm_bridge.routing.plan import Exclusion, ExclusionKind
from sekha_llm_bridge.routing.route_request import ImageNeeds, RouteRequest, RoutingContext

COUNTED_FEATURES = frozenset({"content of type file", "content of type search_result"})
"""Features whose cost a provider's own count of the prompt bounds."""

_UNPRICED = (
    "the cost of keeping the prompt in its cache that long is not known, and cannot be bounded beforehand; give"
    " `hour_cache_write_usd_per_mtok` in the configuration, or mark the prompt for five minutes"
)

SECRET_RETRY_AFTER_S = 3.0
"""The time after which a secret that could not be fetched is fetched again."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """`met` says whether a model meets it; `exclusion` is the reason for excluding a model that does not."""

    met: Callable[[CatalogModel], bool]
    exclusion: Callable[[CatalogModel], Exclusion]


def basic_requirements(request: RouteRequest) -> Iterator[Requirement]:
    """Yields the requirements that `Catalog.usable` has applied in advance."""
    yield Requirement(
        lambda entry: entry.serves(request.task), lambda entry: _not_capable(_task_mismatch(entry, request.task))
    )


def capability_requirements(request: RouteRequest, space: str | None) -> Iterator[Requirement]:
    """Yields what a model must be able to do. `space` is the embedding space that its vectors must have."""
    if pinned := request.pinned:
        place, others = place_in(pinned), len(pinned)
        yield _requirement(lambda entry: place(entry) < others, f"the request names {names_of(pinned)}")
    yield from _feature_requirements(request)
    if fields := request.gateway_fields:
        yield Requirement(
            lambda entry: not refused_fields(entry.provider, fields),
            lambda entry: _not_capable(_refusal(entry, fields)),
        )
    yield from _vision_requirements(request)
    yield _window_requirement(request)
    if (min_dimension := request.dimensions) is not None:
        yield Requirement(
            lambda entry: (entry.model.dimension or 0) >= min_dimension,
            lambda entry: _not_capable(
                f"its vectors have {entry.model.dimension} dimensions, fewer than {min_dimension}"
            ),
        )
    if space is not None:
        yield Requirement(
            lambda entry: entry.model.space == space,
            lambda entry: _not_capable(f"its vectors are of the space {entry.model.space}, not {space}"),
        )


def rejection_requirements(request: RouteRequest, context: RoutingContext) -> Iterator[Requirement]:
    """Yields that the model has not rejected a feature of the request lately."""
    used, unsupported = request.used_features, context.unsupported
    if any(used & features for features in unsupported.values()):
        yield Requirement(
            lambda entry: not (used & unsupported.get(entry.key, frozenset())),
            lambda entry: _not_capable(f"has rejected {_joined(sorted(used & unsupported[entry.key]))} lately"),
        )


def availability_requirements(context: RoutingContext, pending: Mapping[str, str]) -> Iterator[Requirement]:
    """Yields that no missing secret, no open breaker and no cool-down excludes the model now. `pending` has the
    providers whose secrets could not be fetched yet, with the reason.
    """
    if pending:
        yield Requirement(
            lambda entry: entry.provider.id not in pending,
            lambda entry: Exclusion(ExclusionKind.PENDING, pending[entry.provider.id], SECRET_RETRY_AFTER_S),
        )
    if blocked := context.blocked_breakers:
        yield Requirement(
            lambda entry: entry.provider.id not in blocked,
            lambda entry: exclusion_for_open_breaker(blocked[entry.provider.id]),
        )
    if cooldowns_s := context.cooldowns_s:
        yield Requirement(
            lambda entry: entry.key not in cooldowns_s, lambda entry: exclusion_for_cooldown(cooldowns_s[entry.key])
        )


def exclusion_for_open_breaker(breaker: BreakerView | Refusal) -> Exclusion:
    """Returns the exclusion of a model whose provider's breaker allows no request now."""
    cause = f" ({breaker.cause})" if breaker.cause else ""
    is_probed = breaker.state is BreakerState.HALF_OPEN
    state = "is half-open, and another instance is probing it" if is_probed else "is open"
    return Exclusion(ExclusionKind.BREAKER, f"its provider's circuit breaker {state}{cause}", breaker.retry_after_s)


def exclusion_for_cooldown(left_s: float) -> Exclusion:
    """Returns the exclusion of a model that its provider has rate-limited for another `left_s` seconds."""
    return Exclusion(ExclusionKind.COOLDOWN, f"its provider limits its rate for another {left_s:.0f} s", left_s)


def cost_requirements(
    request: RouteRequest, context: RoutingContext, limit: CostLimit | None, left: CostLimit | None = None
) -> Iterator[Requirement]:
    """Yields that a useful answer fits the limit, or what is left of it, by the upper bound of its cost."""
    if limit is None:
        return
    left = left or limit
    if request.features_with_unbounded_cost and not limit.is_default:
        reason = f"the cost of {_joined(sorted(request.features_with_unbounded_cost))} cannot be bounded beforehand"
        counted = request.exact_prompt_tokens if request.features_with_unbounded_cost <= COUNTED_FEATURES else {}
        yield Requirement(
            lambda entry: entry.is_free or entry.key in counted, lambda _: Exclusion(ExclusionKind.COST, reason)
        )
    if request.prompt.cache_marks.lifetime >= CacheLifetime.HOUR and not limit.is_default:
        yield Requirement(
            lambda entry: cost_quotes.is_cache_priced(entry, request),
            lambda _: Exclusion(ExclusionKind.COST, _UNPRICED),
        )
    yield Requirement(
        cost_quotes.is_within_limit(request, left, context.min_output_tokens),
        lambda entry: _cost_exclusion(entry, request, context, left, limit.usd),
    )


def _cost_exclusion(
    entry: CatalogModel, request: RouteRequest, context: RoutingContext, left: CostLimit, limit_usd: Decimal
) -> Exclusion:
    """Returns the exclusion of a model whose smallest useful answer may cost more than the limit."""
    if entry.price is None:
        unknown = "its price is unknown, and the request has a cost limit; give `pricing` in the configuration"
        return Exclusion(ExclusionKind.COST, unknown)
    minimum = usd_text(cost_quotes.minimum_useful_cost_usd(entry, request, context.min_output_tokens, left))
    what = "it" if request.task is Task.EMBEDDING else "a useful answer"
    over = f"over the limit of ${usd_text(limit_usd)}"
    if left.usd < limit_usd:
        over = f"and ${usd_text(max(left.usd, Decimal(0)))} is left of the limit of ${usd_text(limit_usd)}"
    return Exclusion(ExclusionKind.COST, f"{what} may cost ${minimum}, {over}")


def _feature_requirements(request: RouteRequest) -> Iterator[Requirement]:
    """Yields the requirements for the requested features that a model, or its provider's adapter, may not support."""
    if request.needs_audio:
        yield _requirement(lambda entry: entry.model.supports_audio, "cannot process audio")
    if request.needs_tools:
        yield _requirement(lambda entry: entry.model.supports_function_calling is not False, "cannot call tools")
    if used := request.used_features & UNSUPPORTED_FIELDS:
        yield Requirement(
            lambda entry: not (used & entry.capabilities.unsupported_fields),
            lambda entry: _not_capable(
                f"its vendor has no {_joined(sorted(used & entry.capabilities.unsupported_fields))}"
            ),
        )
    if requested := request.requested_features:
        features = frozenset(one.feature for one in requested)
        yield Requirement(
            lambda entry: features <= entry.capabilities.features,
            lambda entry: _not_capable(
                f"{entry.provider.provider_type.value} has no {_joined(entry.capabilities.missing(requested))}"
            ),
        )


def _refusal(entry: CatalogModel, fields: Iterable[str]) -> str:
    refused = _joined(refused_fields(entry.provider, fields))
    return f"it is not sent {refused}, which would be used with its key; `allow_fields` of the provider permits that"


def _vision_requirements(request: RouteRequest) -> Iterator[Requirement]:
    """Yields the requirements for the images of the request."""
    if request.needs_vision:
        yield _requirement(lambda entry: entry.model.has_vision, "cannot see images")
    if images := request.images.count and request.images:
        yield Requirement(
            lambda entry: _image_mismatch(entry, images) is None,
            lambda entry: _not_capable(_image_mismatch(entry, images) or ""),
        )


def _image_mismatch(entry: CatalogModel, images: ImageNeeds) -> str | None:
    """Returns which property of the images the model does not accept; None where it accepts all.

    Without `vision_capabilities`, number and size have no limit, because those of the vendors differ much; the formats
    are those that all of them accept.
    """
    capabilities = entry.model.vision_capabilities
    if capabilities is None:
        wrong = images.formats - COMMON_FORMATS
        remedy = "; if it does, name them in `vision_capabilities.supported_formats`"
        return f"is not known to take {_joined(sorted(wrong))} images{remedy}" if wrong else None
    if images.count > capabilities.max_images:
        return f"takes {capabilities.max_images} images, not {images.count}"
    if wrong := images.formats - format_names(capabilities.supported_formats):
        return f"takes no {_joined(sorted(wrong))} images"
    if images.largest_bytes > capabilities.max_image_size_mb * 1_000_000:
        return f"takes images of up to {capabilities.max_image_size_mb:g} MB"
    return None


def _window_requirement(request: RouteRequest) -> Requirement:
    """Returns the requirement of a large enough context window: by the exact count of the prompt's tokens where it is
    known, else by the minimum count. A prompt that passes may still be too long: then the provider refuses it, and a
    larger window is tried. Of the output that is asked for, a model needs room for as much as it can write.

    Embeddings have no output, and each text has the context window to itself.
    """
    counted, output = request.exact_prompt_tokens, request.output_tokens and request.allowed_output_tokens
    if output and not request.is_output_needed:
        output = min(output, cost_quotes.MIN_ROOM_TOKENS)
    least, prompt, answer = request.context_tokens, request.prompt.minimum, output or 1
    if request.task is Task.EMBEDDING:
        prompt, answer = 0, 0

    def needed_by(entry: CatalogModel) -> int:
        return max(least, counted.get(entry.key, prompt) + min(answer, entry.max_output))

    def exclusion(entry: CatalogModel) -> Exclusion:
        asked = "" if output is None else f", the {min(output, entry.max_output)} of output that are asked for included"
        window = f"its context window of {entry.window} tokens is less than the {needed_by(entry)} needed"
        return Exclusion(ExclusionKind.CONTEXT, f"{window}{asked}")

    if counted:
        return Requirement(lambda entry: entry.window >= needed_by(entry), exclusion)
    enough = max(least, prompt + answer)  # most models have that, which is found out in half the time
    return Requirement(lambda entry: entry.window >= enough or entry.window >= needed_by(entry), exclusion)


def _task_mismatch(entry: CatalogModel, task: Task | None) -> str:
    wanted = "a chat model" if task is None else f"for {task.value}"
    return f"not {wanted}, but for {_joined(entry.model.all_tasks)}"


def _requirement(met: Callable[[CatalogModel], bool], reason: str) -> Requirement:
    return Requirement(met, lambda _: _not_capable(reason))


def _not_capable(reason: str) -> Exclusion:
    return Exclusion(ExclusionKind.NOT_CAPABLE, reason)


def _joined(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
