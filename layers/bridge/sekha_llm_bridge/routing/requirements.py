"""What a request requires of a model: each requirement decides, and gives the reason where it decides against.

Only what a request really asks for becomes a requirement, because each is held against every configured model.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.providers import RequestFeature
from sekha_llm_bridge.resilience import BreakerState, BreakerView, Refusal
from sekha_llm_bridge.routing import cost_quotes
from sekha_llm_bridge.routing.catalog import CatalogModel
from sekha_llm_bridge.routing.plan import Exclusion, ExclusionKind
from sekha_llm_bridge.routing.route_request import ImageNeeds, RouteRequest, RoutingContext

_FORMAT_ALIASES = {"jpg": "jpeg"}
_IMAGE_BY_URL = frozenset({RequestFeature.IMAGE_BY_URL})


@dataclass(frozen=True, slots=True)
class Requirement:
    """`met` decides for a model; `exclusion` is why one that does not meet it is left out."""

    met: Callable[[CatalogModel], bool]
    exclusion: Callable[[CatalogModel], Exclusion]


def usable_at_all(request: RouteRequest) -> Iterator[Requirement]:
    """What `Catalog.usable` has sorted out beforehand."""
    yield Requirement(lambda entry: entry.serves(request.task), lambda entry: _unfit(_other_task(entry, request.task)))
    yield Requirement(
        lambda entry: entry.has_adapter,
        lambda entry: _unfit(f"this version has no adapter for {entry.provider.provider_type.value}"),
    )


def fitness(request: RouteRequest, space: str | None) -> Iterator[Requirement]:
    """What a model must be able to do. `space` is the embedding space that the answer stays in."""
    if (pinned := request.pinned) is not None:
        yield _fitness(lambda entry: entry.model.model_id == pinned, f"the request names the model {pinned}")
    yield from _features(request)
    yield from _images(request)
    yield _window(request)
    if (least := request.dimensions) is not None:
        yield Requirement(
            lambda entry: (entry.model.dimension or 0) >= least,
            lambda entry: _unfit(f"its vectors have {entry.model.dimension} dimensions, fewer than {least}"),
        )
    if space is not None:
        yield Requirement(
            lambda entry: entry.model.space == space,
            lambda entry: _unfit(f"its vectors are of the space {entry.model.space}, not {space}"),
        )


def availability(limits: RoutingContext) -> Iterator[Requirement]:
    """What is known of the providers now."""
    if shut := limits.shut_out:
        yield Requirement(
            lambda entry: entry.provider.id not in shut,
            lambda entry: shut_out(shut[entry.provider.id]),
        )
    if cooling_s := limits.cooling_s:
        yield Requirement(lambda entry: entry.key not in cooling_s, lambda entry: _cooling(cooling_s[entry.key]))


def shut_out(breaker: BreakerView | Refusal) -> Exclusion:
    """Left out because its provider's breaker lets nobody through now."""
    cause = f" ({breaker.cause})" if breaker.cause else ""
    is_probed = breaker.state is BreakerState.HALF_OPEN
    state = "is half-open, and somebody else is probing it" if is_probed else "is open"
    return Exclusion(ExclusionKind.BREAKER, f"its provider's circuit breaker {state}{cause}", breaker.retry_after_s)


def _cooling(left_s: float) -> Exclusion:
    """Left out because its provider asked for a pause."""
    return Exclusion(ExclusionKind.COOLING, f"its provider limits its rate for another {left_s:.0f} s", left_s)


def affordability(
    request: RouteRequest, limits: RoutingContext, limit_usd: Decimal | None, *, spent_usd: Decimal = Decimal(0)
) -> Iterator[Requirement]:
    """Within what is left of the limit a useful answer must be possible, whatever the provider makes of the prompt."""
    if limit_usd is None:
        return
    left_usd = limit_usd - spent_usd
    if request.features_with_unbounded_cost:
        reason = f"the cost of {_words(sorted(request.features_with_unbounded_cost))} cannot be bounded beforehand"
        yield Requirement(lambda entry: entry.is_free, lambda _: Exclusion(ExclusionKind.COST, reason))
    yield Requirement(
        cost_quotes.is_within_limit(request, left_usd, limits.min_output_tokens),
        lambda entry: _too_dear(entry, request, limits, left_usd, limit_usd),
    )


def _too_dear(
    entry: CatalogModel, request: RouteRequest, limits: RoutingContext, left_usd: Decimal, limit_usd: Decimal
) -> Exclusion:
    """Left out because not even the least useful answer surely fits the limit."""
    if entry.price is None:
        unknown = "its price is not known, and a cost limit holds; give `pricing` in the configuration"
        return Exclusion(ExclusionKind.COST, unknown)
    least = usd_text(cost_quotes.minimum_useful_cost_usd(entry, request, limits.min_output_tokens))
    what = "it" if request.task is Task.EMBEDDING else "a useful answer"
    over = f"over the limit of ${usd_text(limit_usd)}"
    if left_usd < limit_usd:
        over = f"and ${usd_text(max(left_usd, Decimal(0)))} is left of the limit of ${usd_text(limit_usd)}"
    return Exclusion(ExclusionKind.COST, f"{what} may cost ${least}, {over}")


def _features(request: RouteRequest) -> Iterator[Requirement]:
    """Yields the requirements for the requested features that a model, or its provider's adapter, may not support."""
    if request.needs_audio:
        yield _fitness(lambda entry: entry.model.supports_audio, "cannot hear audio")
    if request.needs_tools:
        yield _fitness(lambda entry: entry.model.supports_function_calling is not False, "cannot call tools")
    if requested := request.requested_features:
        features = frozenset(one.feature for one in requested)
        yield Requirement(
            lambda entry: features <= entry.capabilities.features,
            lambda entry: _unfit(
                f"{entry.provider.provider_type.value} has no {_words(entry.capabilities.missing(requested))}"
            ),
        )


def _images(request: RouteRequest) -> Iterator[Requirement]:
    """Yields the requirements for the images of the request."""
    if request.needs_vision:
        yield _fitness(lambda entry: entry.model.has_vision, "cannot see images")
    if request.images.by_url:
        yield Requirement(
            lambda entry: entry.capabilities.features >= _IMAGE_BY_URL,
            lambda entry: _unfit(f"{entry.provider.provider_type.value} takes images as data: URLs only"),
        )
    if images := request.images.count and request.images:
        yield Requirement(
            lambda entry: _unseen(entry, images) is None, lambda entry: _unfit(_unseen(entry, images) or "")
        )


def _unseen(entry: CatalogModel, images: ImageNeeds) -> str | None:
    """What about the images is more than the model takes."""
    can = entry.model.vision_capabilities
    if can is None:
        return None
    if images.count > can.max_images:
        return f"takes {can.max_images} images, not {images.count}"
    if wrong := images.formats - {_FORMAT_ALIASES.get(form, form) for form in can.supported_formats}:
        return f"takes no {_words(sorted(wrong))} images"
    if images.largest_bytes > can.max_image_size_mb * 1_000_000:
        return f"takes images of up to {can.max_image_size_mb:g} MB"
    return None


def _window(request: RouteRequest) -> Requirement:
    """Excludes what can hardly fit by any count; the rest the provider judges, and a larger window is tried then.

    Embeddings have no answer to leave room for, and each text has the window to itself.
    """
    needed = request.context_tokens
    if request.task is not Task.EMBEDDING:
        needed = max(needed, request.prompt.least + (request.output_tokens or 1))
    asked = f"the {needed} needed"
    if request.output_tokens is not None:
        asked += f", the {request.output_tokens} of output that are asked for included"
    return Requirement(
        lambda entry: entry.window >= needed,
        lambda entry: _unfit(f"its context window of {entry.window} tokens is less than {asked}"),
    )


def _other_task(entry: CatalogModel, task: Task | None) -> str:
    wanted = "a chat model" if task is None else f"for {task.value}"
    return f"not {wanted}, but for {_words(entry.model.all_tasks)}"


def _fitness(met: Callable[[CatalogModel], bool], reason: str) -> Requirement:
    return Requirement(met, lambda _: _unfit(reason))


def _unfit(reason: str) -> Exclusion:
    return Exclusion(ExclusionKind.UNFIT, reason)


def _words(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
