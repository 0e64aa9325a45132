"""The one planner: `/route` explains with it, and every real request is served by it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal

from sekha_llm_bridge.config.models import ProviderType, Task
from sekha_llm_bridge.pricing import Price, image_tokens, usd_text
from sekha_llm_bridge.pricing.book import MILLION
from sekha_llm_bridge.resilience import BreakerState
from sekha_llm_bridge.routing.catalog import Catalog, CatalogModel
from sekha_llm_bridge.routing.plan import Barrier, Candidate, Exclusion, Listing, Quote, RoutePlan
from sekha_llm_bridge.routing.request import Limits, RouteRequest

_LIKELY_OUTPUT_TOKENS = 500
USUAL_MOST_OUTPUT = 4096
_FORMAT_ALIASES = {"jpg": "jpeg"}


def plan(request: RouteRequest, catalog: Catalog, limits: Limits) -> RoutePlan:
    """Every configured model, considered: those that can answer in the order to try them, the others with the reason.

    Deterministic: the same arguments give the same plan.
    """
    limit = _lower(request.max_cost_usd, limits.max_cost_usd)
    ranked = sorted(catalog.models, key=lambda entry: _rank(entry, request, catalog, limits))
    space = _space(request, catalog, ranked)
    rows = [_listing(entry, request, limits, limit, space) for entry in ranked]
    rows = list(_once_each(rows))
    kept = [row for row in rows if row.exclusion is None]
    first = _first_reason(kept, request, limits)
    reasons = [first, *["next in order"] * len(kept)]
    candidates = tuple(_candidate(row, request, limit, reason) for row, reason in zip(kept, reasons, strict=False))
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
    """The embedding space that the answer stays in.

    It is that of the preferred model where that can do it, else of the default model, else of the first in order:
    chosen before the text, the breakers or the cost can sway it, because vectors of two spaces never mix.
    """
    if request.task is not Task.EMBEDDING:
        return None
    eligible = [entry for entry in ranked if _gives_vectors(entry, request)]
    preferred = [entry for entry in _named(request.preferred, eligible) if _unfit(entry, request, None) is None]
    default = _named(catalog.default_for(Task.EMBEDDING), eligible)
    others = [entry for entry in eligible if entry.model.model_id != request.preferred]
    return next((entry.model.space for entry in (*preferred, *default, *others, *eligible)), None)


def _gives_vectors(entry: CatalogModel, request: RouteRequest) -> bool:
    is_pinned = request.pinned in {None, entry.model.model_id}
    return is_pinned and entry.has_adapter and entry.model.serves(Task.EMBEDDING)


def _named(model_id: str | None, entries: list[CatalogModel]) -> list[CatalogModel]:
    return [entry for entry in entries if entry.model.model_id == model_id]


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
    first = {_key(row): row for row in reversed(rows) if row.exclusion is None}
    twice = Exclusion(Barrier.UNFIT, "this provider lists the same model above")
    for row in rows:
        is_again = row.exclusion is None and first[_key(row)] is not row
        yield replace(row, exclusion=twice) if is_again else row


def _key(row: Listing) -> tuple[str, str]:
    return row.entry.provider.id, row.entry.model.model_id


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
    yield from _unable(entry, request)
    yield from _unseen(entry, request)
    if (missing := _window_shortage(entry, request)) is not None:
        yield missing
    if request.dimensions is not None and (model.dimension or 0) < request.dimensions:
        yield f"its vectors have {model.dimension} dimensions, fewer than {request.dimensions}"
    if space is not None and model.space != space:
        yield f"its vectors are of the space {model.space}, not {space}"


def _unable(entry: CatalogModel, request: RouteRequest) -> Iterator[str]:
    """The features asked for that the model, or its provider's format, does not have."""
    if request.needs_audio and not entry.model.supports_audio:
        yield "cannot hear audio"
    if request.needs_tools and entry.model.supports_function_calling is False:
        yield "cannot call tools"
    if request.untranslatable and not entry.speaks_openai:
        yield f"{entry.provider.provider_type.value} has no {_words(sorted(request.untranslatable))}"


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
    """Excludes what can hardly fit by any count; the rest the provider judges, and a larger window is tried then.

    Embeddings have no answer to leave room for, and each text has the window to itself.
    """
    if request.task is Task.EMBEDDING:
        needed = request.context_tokens
    else:
        needed = max(request.context_tokens, request.prompt.least + (request.output_tokens or 1))
    window = entry.model.context_window
    return f"its context window of {window} tokens is less than the {needed} needed" if needed > window else None


def _blocked(breaker: BreakerState) -> Exclusion | None:
    return (
        Exclusion(Barrier.BREAKER, "its provider's circuit breaker is open") if breaker is BreakerState.OPEN else None
    )


def _unaffordable(
    entry: CatalogModel, quote: Quote, limits: Limits, limit: Decimal | None, request: RouteRequest
) -> Exclusion | None:
    if limit is None or _is_free(entry):
        return None
    if request.unbounded:
        return Exclusion(Barrier.COST, f"the cost of {_words(sorted(request.unbounded))} cannot be bounded beforehand")
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
    return min(limits.min_output_tokens, _capped_output(entry, request))


def _least(entry: CatalogModel, request: RouteRequest, limits: Limits) -> Decimal:
    """The upper bound of the cost of the least useful answer."""
    return _bound(entry, request, _useful(entry, request, limits)) or Decimal(0)


def _quote(entry: CatalogModel, request: RouteRequest, limits: Limits, limit: Decimal | None) -> Quote:
    if limit is None or _is_free(entry):
        cap = _free_output(entry, request)
    else:
        cap = _capped_output(entry, request)
        cap = min(cap, max(_affordable_output(entry, request, limit), _useful(entry, request, limits)))
    return Quote(_estimate(entry, request), _bound(entry, request, cap), cap)


def _bound(entry: CatalogModel, request: RouteRequest, output_tokens: int) -> Decimal | None:
    """What the request cannot cost more than, when each answer has at most `output_tokens`."""
    return _cost(entry.price, _prompt_bound(entry, request), output_tokens * request.answers)


def _estimate(entry: CatalogModel, request: RouteRequest) -> Decimal | None:
    likely = min(_LIKELY_OUTPUT_TOKENS, _free_output(entry, request))
    return _cost(entry.price, _prompt_estimate(entry, request), likely * request.answers)


def _prompt_estimate(entry: CatalogModel, request: RouteRequest) -> int:
    return request.prompt.estimate + request.prompt.images * image_tokens(entry.model.model_id)[0]


def _prompt_bound(entry: CatalogModel, request: RouteRequest) -> int:
    return request.prompt.bound + request.prompt.images * image_tokens(entry.model.model_id)[1]


def _cost(price: Price | None, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
    return None if price is None else price.cost_usd(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def _free_output(entry: CatalogModel, request: RouteRequest) -> int:
    """The most output tokens of one answer where no cost limit holds; embeddings have none."""
    if request.output_tokens is None and entry.model.max_output_tokens is None and request.task is not Task.EMBEDDING:
        return entry.model.context_window  # nothing is sent, so nothing but the window stops the model
    return _capped_output(entry, request)


def _capped_output(entry: CatalogModel, request: RouteRequest) -> int:
    """The most output tokens to ask for in one answer, so that the provider does not refuse the number.

    A provider refuses more than its model can give, or than the window has left beside the prompt; so where neither
    request nor configuration says, it is a number that current models take, and at most half of what is likely left.
    """
    if request.task is Task.EMBEDDING:
        return 0
    most = entry.model.max_output_tokens
    if request.output_tokens is not None:
        return request.output_tokens if most is None else min(request.output_tokens, most)
    window = entry.model.context_window
    room = max(window - _prompt_bound(entry, request), (window - _prompt_estimate(entry, request)) // 2, 1)
    return min(most or USUAL_MOST_OUTPUT, room)


def _affordable_output(entry: CatalogModel, request: RouteRequest, limit: Decimal) -> int:
    """How many output tokens for each answer the limit leaves after the prompt."""
    price = entry.price
    if price is None or not price.output_usd_per_mtok:
        return _capped_output(entry, request)
    left = limit - price.cost_usd(prompt_tokens=_prompt_bound(entry, request), completion_tokens=0)
    return max(0, int(left * MILLION / price.output_usd_per_mtok) // request.answers)


def _candidate(row: Listing, request: RouteRequest, limit: Decimal | None, reason: str) -> Candidate:
    return Candidate(row.entry, row.quote, _cap_to_send(row, request, limit), reason)


def _cap_to_send(row: Listing, request: RouteRequest, limit: Decimal | None) -> int | None:
    """What the provider is told to stop at, where the request's own limit does not do: the bound counts on it."""
    cap = row.quote.output_cap
    if request.task is Task.EMBEDDING:
        return None
    if request.output_tokens is not None:
        return cap if cap < request.output_tokens else None
    is_bounded = limit is not None and not _is_free(row.entry)
    return cap if is_bounded or row.entry.model.max_output_tokens is not None else None


def _is_free(entry: CatalogModel) -> bool:
    return entry.price is not None and entry.price.is_free


def _first_reason(kept: list[Listing], request: RouteRequest, limits: Limits) -> str:
    """Why the first candidate is first."""
    if not kept:
        return ""
    first = kept[0]
    if request.pinned is not None:
        return "The model that the request names"
    if first.entry.model.model_id == request.preferred:
        return "The preferred model"
    if first.entry.provider.provider_type is ProviderType.OLLAMA and _is_free(first.entry):
        return "Local model available, free"
    rivals = [row for row in kept if row.entry.provider.priority == first.entry.provider.priority]
    best = "cheapest of" if limits.cost_aware and len(rivals) > 1 else "first of"
    return f"Priority {first.entry.provider.priority}, {best} {len(rivals)}, {_price_text(first)}"


def _price_text(row: Listing) -> str:
    if _is_free(row.entry):
        return "free"
    return "price not known" if row.quote.estimate_usd is None else f"about ${usd_text(row.quote.estimate_usd)}"


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


def _words(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
