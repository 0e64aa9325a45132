"""The one planner: `/route` explains with it, and every real request is served by it."""

from collections.abc import Iterator
from decimal import Decimal

from sekha_llm_bridge.config.models import ProviderType, Task
from sekha_llm_bridge.pricing import Price, usd_text
from sekha_llm_bridge.resilience import BreakerState
from sekha_llm_bridge.routing.catalog import Catalog, CatalogModel
from sekha_llm_bridge.routing.plan import Barrier, Candidate, Exclusion, Listing, Quote, RoutePlan
from sekha_llm_bridge.routing.request import Limits, RouteRequest

_LIKELY_OUTPUT_TOKENS = 500
_MILLION = Decimal(1_000_000)
_FORMAT_ALIASES = {"jpg": "jpeg"}


def plan(request: RouteRequest, catalog: Catalog, limits: Limits) -> RoutePlan:
    """Every configured model, considered: those that can answer in the order to try them, the others with the reason.

    Deterministic: the same arguments give the same plan.
    """
    limit = _lower(request.max_cost_usd, limits.max_cost_usd)
    ranked = sorted(catalog.models, key=lambda entry: _rank(entry, request, catalog, limits))
    space = request.embedding_space or _space(request, catalog, ranked)
    rows = [_listing(entry, request, limits, limit, space) for entry in ranked]
    rows = list(_once_each(rows))
    kept = [row for row in rows if row.exclusion is None]
    first = _first_reason(kept, request, limits)
    candidates = tuple(_candidate(row, request, first if i == 0 else "next in order") for i, row in enumerate(kept))
    listings = (*kept, *(row for row in rows if row.exclusion is not None))
    return RoutePlan(candidates, listings, tuple(_notes(request, listings)), limit)


def _lower(*limits: Decimal | None) -> Decimal | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _rank(
    entry: CatalogModel, request: RouteRequest, catalog: Catalog, limits: Limits
) -> tuple[bool, int, bool, Decimal, bool, int]:
    """Preferred, priority, known and low cost, default of the task, place in the file."""
    cost = _estimate(entry, request) if limits.cost_aware else Decimal(0)
    return (
        entry.model.model_id != request.preferred,
        entry.provider.priority,
        cost is None,
        cost or Decimal(0),
        entry.model.model_id != catalog.default_for(request.task),
        entry.position,
    )


def _space(request: RouteRequest, catalog: Catalog, ranked: list[CatalogModel]) -> str | None:
    """The embedding space that the answer stays in, chosen before health or cost can sway it: vectors never mix."""
    if request.task is not Task.EMBEDDING:
        return None
    able = [entry for entry in ranked if _unfit(entry, request, None) is None]
    wanted = (request.preferred, catalog.default_for(Task.EMBEDDING))
    named = (entry for model_id in wanted for entry in able if entry.model.model_id == model_id)
    return next((entry.model.space for entry in (*named, *able)), None)


def _listing(
    entry: CatalogModel, request: RouteRequest, limits: Limits, limit: Decimal | None, space: str | None
) -> Listing:
    breaker = limits.breakers.get(entry.provider.id, BreakerState.CLOSED)
    quote = _quote(entry, request, limits, limit)
    unfit = _unfit(entry, request, space)
    exclusion = (
        Exclusion(Barrier.UNFIT, unfit)
        if unfit
        else _blocked(breaker) or _unaffordable(entry, quote, limits, limit, request)
    )
    return Listing(entry, quote, breaker, exclusion)


def _once_each(rows: list[Listing]) -> Iterator[Listing]:
    """A model that one provider lists twice, for two tasks, is tried once."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        key = (row.entry.provider.id, row.entry.model.model_id)
        if row.exclusion is None and key in seen:
            yield Listing(
                row.entry, row.quote, row.breaker, Exclusion(Barrier.UNFIT, "this provider lists the same model above")
            )
        else:
            yield row
        if row.exclusion is None:
            seen.add(key)


def _unfit(entry: CatalogModel, request: RouteRequest, space: str | None) -> str | None:
    """Why the model cannot do what is asked, whatever its cost or health; None when it can."""
    return next(_unmet(entry, request, space), None)


def _unmet(entry: CatalogModel, request: RouteRequest, space: str | None) -> Iterator[str]:
    model = entry.model
    if request.pinned is not None and model.model_id != request.pinned:
        yield f"the request names the model {request.pinned}"
    if request.task is None and not model.is_chat:
        yield f"not a chat model, but for {_words(model.all_tasks)}"
    if request.task is not None and not model.serves(request.task):
        yield f"not for {request.task.value}, but for {_words(model.all_tasks)}"
    if not entry.has_adapter:
        yield f"this version has no adapter for {entry.provider.provider_type.value}"
    if request.needs_audio and not model.supports_audio:
        yield "cannot hear audio"
    if request.needs_tools and model.supports_function_calling is False:
        yield "cannot call tools"
    if request.untranslatable and not entry.speaks_openai:
        yield f"{entry.provider.provider_type.value} has no {_words(sorted(request.untranslatable))}"
    yield from _unseen(entry, request)
    if (missing := _window_shortage(entry, request)) is not None:
        yield missing
    if space is not None and model.space != space:
        yield f"its vectors are of the space {model.space}, not {space}"


def _unseen(entry: CatalogModel, request: RouteRequest) -> Iterator[str]:
    """What the model lacks to see the images."""
    if request.needs_vision and not entry.model.has_vision:
        yield "cannot see images"
    if request.images.by_url and not entry.takes_image_urls:
        yield f"{entry.provider.provider_type.value} takes images as data: URLs only"
    can = entry.model.vision_capabilities
    if can is None:
        return
    if request.images.count > can.max_images:
        yield f"takes {can.max_images} images, not {request.images.count}"
    taken = {_FORMAT_ALIASES.get(form, form) for form in can.supported_formats}
    if wrong := request.images.formats - taken:
        yield f"takes no {_words(sorted(wrong))} images"
    if request.images.largest_bytes > can.max_image_size_mb * 1_000_000:
        yield f"takes images of up to {can.max_image_size_mb:g} MB"


def _window_shortage(entry: CatalogModel, request: RouteRequest) -> str | None:
    """Embeddings have no answer to leave room for; each text has the window to itself, which only the provider can
    judge.
    """
    if entry.model.serves(Task.EMBEDDING):
        needed = request.context_tokens
    else:
        needed = max(request.context_tokens, request.prompt.estimate + (request.output_tokens or 1))
    window = entry.model.context_window
    return f"its context window of {window} tokens is less than the {needed} needed" if needed > window else None


def _blocked(breaker: BreakerState) -> Exclusion | None:
    return (
        Exclusion(Barrier.BREAKER, "its provider's circuit breaker is open") if breaker is BreakerState.OPEN else None
    )


def _unaffordable(
    entry: CatalogModel, quote: Quote, limits: Limits, limit: Decimal | None, request: RouteRequest
) -> Exclusion | None:
    if limit is None or (entry.price is not None and entry.price.is_free):
        return None
    if quote.bound_usd is None:
        return Exclusion(
            Barrier.COST, "its price is not known, and a cost limit holds; give `pricing` in the configuration"
        )
    if quote.bound_usd > limit or quote.output_cap < _useful(entry, request, limits):
        least = usd_text(_least(entry, request, limits))
        return Exclusion(Barrier.COST, f"a useful answer may cost ${least}, over the limit of ${usd_text(limit)}")
    return None


def _useful(entry: CatalogModel, request: RouteRequest, limits: Limits) -> int:
    """The fewest output tokens that are worth asking for."""
    return min(limits.min_output_tokens, _allowed_output(entry, request))


def _least(entry: CatalogModel, request: RouteRequest, limits: Limits) -> Decimal:
    """The upper bound of the cost of the least useful answer."""
    return _cost(entry.price, request.prompt.bound, _useful(entry, request, limits) * request.answers) or Decimal(0)


def _quote(entry: CatalogModel, request: RouteRequest, limits: Limits, limit: Decimal | None) -> Quote:
    allowed = _allowed_output(entry, request)
    cap = (
        allowed
        if limit is None
        else min(allowed, max(_affordable_output(entry, request, limit), _useful(entry, request, limits)))
    )
    return Quote(_estimate(entry, request), _cost(entry.price, request.prompt.bound, cap * request.answers), cap)


def _estimate(entry: CatalogModel, request: RouteRequest) -> Decimal | None:
    likely = min(_LIKELY_OUTPUT_TOKENS, _allowed_output(entry, request))
    return _cost(entry.price, request.prompt.estimate, likely * request.answers)


def _cost(price: Price | None, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
    return None if price is None else price.cost_usd(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def _allowed_output(entry: CatalogModel, request: RouteRequest) -> int:
    """The most output tokens that request and model allow; embeddings have none."""
    if request.task is Task.EMBEDDING:
        return 0
    room = max(0, entry.model.context_window - request.prompt.estimate)
    return min(cap for cap in (request.output_tokens, entry.model.max_output_tokens, room) if cap is not None)


def _affordable_output(entry: CatalogModel, request: RouteRequest, limit: Decimal) -> int:
    """How many output tokens for each answer the limit leaves after the prompt."""
    price = entry.price
    if price is None or not price.output_usd_per_mtok:
        return _allowed_output(entry, request)
    left = limit - price.cost_usd(prompt_tokens=request.prompt.bound, completion_tokens=0)
    return max(0, int(left * _MILLION / price.output_usd_per_mtok) // request.answers)


def _candidate(row: Listing, request: RouteRequest, reason: str) -> Candidate:
    capped = row.quote.output_cap < _allowed_output(row.entry, request)
    return Candidate(row.entry, row.quote, row.quote.output_cap if capped else None, reason)


def _first_reason(kept: list[Listing], request: RouteRequest, limits: Limits) -> str:
    """Why the first candidate is first."""
    if not kept:
        return ""
    first = kept[0]
    if request.pinned is not None:
        return "The model that the request names"
    if first.entry.model.model_id == request.preferred:
        return "The preferred model"
    free = first.entry.price is not None and first.entry.price.is_free
    if first.entry.provider.provider_type is ProviderType.OLLAMA and free:
        return "Local model available, free"
    rivals = [row for row in kept if row.entry.provider.priority == first.entry.provider.priority]
    cost = (
        "free"
        if free
        else "price not known"
        if first.quote.estimate_usd is None
        else f"about ${usd_text(first.quote.estimate_usd)}"
    )
    best = "cheapest of" if limits.cost_aware and len(rivals) > 1 else "first of"
    return f"Priority {first.entry.provider.priority}, {best} {len(rivals)}, {cost}"


def _notes(request: RouteRequest, listings: tuple[Listing, ...]) -> Iterator[str]:
    """What a caller should know of how the plan came about."""
    if request.preferred is None:
        return
    rows = [row for row in listings if row.entry.model.model_id == request.preferred]
    if not rows:
        yield f"preferred_model {request.preferred} is not configured and was passed over"
    elif all(row.exclusion is not None for row in rows):
        reason = next(row.exclusion.reason for row in rows if row.exclusion is not None)
        yield f"preferred_model {request.preferred} was passed over: {reason}"


def _words(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list | tuple | set | frozenset) else str(names)
