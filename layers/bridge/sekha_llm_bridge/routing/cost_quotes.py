"""What a request costs with one model: the estimate, the upper bound, and the output tokens that a limit allows."""

import math
from collections.abc import Callable
from decimal import Decimal

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.conversation import CacheLifetime
from sekha_llm_bridge.pricing.price import MILLION
from sekha_llm_bridge.providers import PriceCeiling
from sekha_llm_bridge.routing.catalog import PICO_USD, UNLIMITED_TOKENS, CatalogModel
from sekha_llm_bridge.routing.cost_limit import CostLimit
from sekha_llm_bridge.routing.plan import Candidate, Quote
from sekha_llm_bridge.routing.route_request import RouteRequest
from sekha_llm_bridge.usage import Usage

DEFAULT_MAX_OUTPUT_TOKENS = 4096
MIN_ROOM_TOKENS = 1024  # that a window must leave for an answer whose limit is only a maximum
UNKNOWN_COST = 1 << 99  # in pico-USD: above any known cost
# Anthropic, "Token counting": a count is an estimate, and the number that is billed may differ by a small amount.
_COUNT_MARGIN_TOKENS = 32
_COUNT_MARGIN_PERCENT = 2


def estimated_cost_in_pico_usd(request: RouteRequest) -> Callable[[CatalogModel], int]:
    """Returns a function of a model's estimated cost in pico-USD, for ranking. An unknown price costs most."""
    prompt, images, n_choices = request.prompt.estimate, request.prompt.images, request.n_choices
    max_output = 0 if request.task is Task.EMBEDDING else request.allowed_output_tokens or UNLIMITED_TOKENS
    has_marks = request.prompt.cache_marks.has_any

    def cost(entry: CatalogModel) -> int:
        rates = entry.integer_rates
        if rates is None:
            return UNKNOWN_COST
        if not rates.is_flat:
            return round((estimate_usd(entry, request) or 0) * PICO_USD)
        # min() would take twice as long, for every model.
        output = entry.estimated_output_tokens if entry.estimated_output_tokens < max_output else max_output  # noqa: FURB136
        usual = (
            prompt + images * entry.estimated_image_tokens
        ) * rates.input_rate + output * n_choices * rates.output_rate
        if has_marks or entry.min_marked_prefix is not None:
            written = written_tokens(entry, request)
            return usual + written * (rates.hour_write_rate if uses_hour_cache(entry, request) else rates.write_rate)
        return usual

    return cost


def written_tokens(entry: CatalogModel, request: RouteRequest) -> int:
    """Returns the estimated tokens that a model's provider writes to its cache: all that are marked for it, because
    only the provider knows what it has written before.
    """
    prompt = request.prompt
    if prompt.cache_marks.has_any:
        return prompt.marked if entry.cache.takes_marks else 0
    return prompt.prefix_tokens if marks_prefix(entry, request) else 0


def marks_prefix(entry: CatalogModel, request: RouteRequest) -> bool:
    """Returns whether the bridge marks the beginning of the prompt for a model: the request has no mark of its own, and
    the beginning is long enough to be cached.
    """
    minimum = entry.min_marked_prefix
    if minimum is None or request.prompt.cache_marks.has_any:
        return False
    return request.prompt.estimate >= minimum and request.prompt.prefix_tokens >= minimum


def uses_hour_cache(entry: CatalogModel, request: RouteRequest) -> bool:
    """Returns whether a model's provider is asked to keep a part of the prompt for longer than five minutes."""
    return entry.cache.takes_hours and request.prompt.cache_marks.lifetime >= CacheLifetime.HOUR


def is_cache_priced(entry: CatalogModel, request: RouteRequest) -> bool:
    """Returns whether it is known what writing to a model's cache costs, for the time that the request asks for."""
    if entry.is_free or not entry.cache.takes_hours:
        return True
    is_known_time = request.prompt.cache_marks.lifetime is not CacheLifetime.OTHER
    return is_known_time and entry.price is not None and entry.price.has_hour_cache_rate


def is_within_limit(
    request: RouteRequest, cost_limit: CostLimit, min_output_tokens: int
) -> Callable[[CatalogModel], bool]:
    """Returns a function that says whether a useful answer of a model costs at most the limit, by its upper bound: by
    the fast token bound where that is enough, else by the exact count. A default limit goes by the estimate, and allows
    models whose price is unknown.
    """
    is_default, limit = cost_limit.is_default, int(cost_limit.usd * PICO_USD)
    prompt = request.prompt.estimate if is_default else request.prompt.bound
    images, n_choices, counted = request.prompt.images, request.n_choices, request.exact_prompt_tokens
    is_hour_cache = request.prompt.cache_marks.lifetime >= CacheLifetime.HOUR
    min_output = (
        0
        if request.task is Task.EMBEDDING
        else min(min_output_tokens, request.allowed_output_tokens or UNLIMITED_TOKENS)
    )

    def fits(entry: CatalogModel) -> bool:
        rates = entry.integer_rates
        if rates is None:
            return is_default
        if rates.is_flat and not counted:
            output = min_output if min_output < entry.max_output else entry.max_output  # noqa: FURB136 — as above
            tokens = prompt + images * (entry.estimated_image_tokens if is_default else entry.max_image_tokens)
            input_rate = rates.input_rate if is_default else rates.max_input_rate
            if is_hour_cache and not is_default and entry.cache.takes_hours:
                input_rate = rates.max_hour_input_rate
            if tokens * input_rate + output * n_choices * rates.max_output_rate <= limit:
                return True
            if is_default or entry.tokenizer is None:
                return rates.is_free
        return minimum_useful_cost_usd(entry, request, min_output_tokens, cost_limit) <= cost_limit.usd

    return fits


def estimate_usd(entry: CatalogModel, request: RouteRequest) -> Decimal | None:
    """Returns the estimated cost; None where the price is unknown."""
    if entry.price is None:
        return None
    written = written_tokens(entry, request)
    usage = Usage(
        prompt_estimate(entry, request),
        estimated_output_tokens(entry, request) * request.n_choices,
        cache_write_tokens=written,
        hour_cache_write_tokens=written if uses_hour_cache(entry, request) else 0,
    )
    return entry.price.cost_usd(usage)


def estimated_output_tokens(entry: CatalogModel, request: RouteRequest) -> int:
    """Returns the estimated output tokens of one choice; embeddings have none."""
    if request.task is Task.EMBEDDING:
        return 0
    allowed, estimate = request.allowed_output_tokens, entry.estimated_output_tokens
    return estimate if allowed is None or allowed > estimate else allowed


def prompt_estimate(entry: CatalogModel, request: RouteRequest) -> int:
    """Returns the estimated prompt tokens, images included."""
    return request.prompt.estimate + request.prompt.images * entry.estimated_image_tokens


def prompt_bound(entry: CatalogModel, request: RouteRequest) -> int:
    """Returns the fast upper bound of the prompt tokens, images included; one from a provider's count where it has
    counted.
    """
    if (counted := request.exact_prompt_tokens.get(entry.key)) is not None:
        return counted_bound(counted)
    return request.prompt.bound + request.prompt.images * entry.max_image_tokens


def exact_prompt_bound(entry: CatalogModel, request: RouteRequest) -> int:
    """Returns the upper bound of the prompt tokens, from an exact count where the model's tokenizer is known."""
    if (counted := request.exact_prompt_tokens.get(entry.key)) is not None:
        return counted_bound(counted)
    return request.prompt.bound_for(entry.tokenizer) + request.prompt.images * entry.max_image_tokens


def counted_bound(counted: int) -> int:
    """Returns the upper bound of the tokens that are billed for a prompt, by its provider's count."""
    return counted + counted * _COUNT_MARGIN_PERCENT // 100 + _COUNT_MARGIN_TOKENS


def minimum_useful_output_tokens(entry: CatalogModel, request: RouteRequest, min_output_tokens: int) -> int:
    """Returns the fewest output tokens that count as a useful answer."""
    if request.task is Task.EMBEDDING:
        return 0
    return min(min_output_tokens, request.allowed_output_tokens or UNLIMITED_TOKENS, entry.max_output)


def quote(entry: CatalogModel, request: RouteRequest, limit: CostLimit | None, min_output_tokens: int) -> Quote:
    """Returns what the request costs with this model within `limit`; where no useful answer fits, what the smallest
    useful answer would cost.

    The exact token count is made only where the fast bound allows fewer output tokens than the request wants.
    """
    prompt = prompt_bound(entry, request)
    if limit is None or entry.price is None or entry.is_free:
        return _quote(entry, request, prompt, _output_tokens_without_limit(entry, request, prompt))
    if limit.is_default:
        return _quote(entry, request, prompt, _output_tokens_by_default(entry, request, limit, min_output_tokens))
    wanted = _wanted_output_tokens(entry, request, prompt)
    affordable = _affordable_output_tokens(entry, request, limit, prompt)
    if affordable < wanted:
        prompt = exact_prompt_bound(entry, request)
        wanted = _wanted_output_tokens(entry, request, prompt)
        affordable = _affordable_output_tokens(entry, request, limit, prompt)
    return _quote(
        entry,
        request,
        prompt,
        min(wanted, max(affordable, minimum_useful_output_tokens(entry, request, min_output_tokens))),
    )


def output_within(entry: CatalogModel, request: RouteRequest, limit: CostLimit | None) -> int:
    """Returns how many of the output tokens that the request wants the limit allows, by the tokens of its prompt that
    the limit goes by; at least 0.
    """
    prompt = _prompt_for_limit(entry, request, limit)
    wanted = _wanted_output_tokens(entry, request, prompt)
    if limit is None or entry.price is None or entry.is_free:
        return wanted
    return max(0, min(wanted, _affordable_output_tokens(entry, request, limit, prompt)))


def quoted_candidate(
    entry: CatalogModel, request: RouteRequest, limit: CostLimit | None, min_output_tokens: int
) -> Candidate:
    """Returns the model with its quote, and the output limit that is sent to its provider."""
    quoted = quote(entry, request, limit, min_output_tokens)
    ceiling = None
    if limit is not None and not limit.is_default and entry.price is not None and not entry.is_free:
        ceiling = PriceCeiling(*entry.price.listed_max_rates(quoted.prompt_tokens))
    output_cap = _output_cap_to_send(entry, request, limit, quoted.output_cap)
    return Candidate(entry, quoted, output_cap, ceiling, marks_prefix(entry, request))


def _quote(entry: CatalogModel, request: RouteRequest, prompt_tokens: int, cap: int) -> Quote:
    bound_usd, estimated_usd = _bound_usd(entry, request, prompt_tokens, cap), estimate_usd(entry, request)
    if bound_usd is not None and estimated_usd is not None:
        estimated_usd = min(estimated_usd, bound_usd)  # an exact count may be below the estimate
    return Quote(estimated_usd, bound_usd, prompt_tokens, cap)


def _bound_usd(entry: CatalogModel, request: RouteRequest, prompt_tokens: int, output_tokens: int) -> Decimal | None:
    if entry.price is None:
        return None
    return entry.price.bound_usd(
        prompt_tokens=prompt_tokens,
        completion_tokens=output_tokens * request.n_choices,
        is_hour_cache=uses_hour_cache(entry, request),
    )


def _output_tokens_without_limit(entry: CatalogModel, request: RouteRequest, prompt_tokens: int) -> int:
    """Returns the maximum output tokens of one choice without a cost limit."""
    is_unknown = request.allowed_output_tokens is None and entry.model.max_output_tokens is None
    if is_unknown and request.task is not Task.EMBEDDING:
        return entry.window  # no limit is sent, so only the context window ends the answer
    return _wanted_output_tokens(entry, request, prompt_tokens)


def _output_tokens_by_default(
    entry: CatalogModel, request: RouteRequest, limit: CostLimit, min_output_tokens: int
) -> int:
    """Returns the maximum output tokens of one choice under a default limit."""
    prompt = _prompt_for_limit(entry, request, limit)
    wanted = _wanted_output_tokens(entry, request, prompt)
    affordable = _affordable_output_tokens(entry, request, limit, prompt)
    without_limit = _output_tokens_without_limit(entry, request, prompt_bound(entry, request))
    if affordable >= wanted:
        return without_limit
    return min(max(affordable, minimum_useful_output_tokens(entry, request, min_output_tokens)), without_limit)


def _prompt_for_limit(entry: CatalogModel, request: RouteRequest, limit: CostLimit | None) -> int:
    """Returns the prompt tokens that a limit goes by: their upper bound; for a default limit, their estimate."""
    if limit is not None and limit.is_default and entry.key not in request.exact_prompt_tokens:
        return prompt_estimate(entry, request)
    return exact_prompt_bound(entry, request)


def _wanted_output_tokens(entry: CatalogModel, request: RouteRequest, prompt_tokens: int) -> int:
    """Returns the maximum output tokens of one choice, low enough that the provider does not refuse the number.

    A provider refuses more than its model can generate, or than the context window leaves after the prompt. Where
    neither request nor configuration says, the number is one that current models accept, and at most half of what the
    window is estimated to leave.
    """
    if request.task is Task.EMBEDDING:
        return 0
    allowed = request.allowed_output_tokens or UNLIMITED_TOKENS
    if request.output_tokens is not None and request.is_output_needed:
        return min(allowed, entry.max_output)
    room = max(entry.window - prompt_tokens, (entry.window - prompt_estimate(entry, request)) // 2, 1)
    if request.output_tokens is not None:
        return min(allowed, entry.max_output, max(room, MIN_ROOM_TOKENS))
    return min(entry.model.max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS, room, allowed)


def _affordable_output_tokens(entry: CatalogModel, request: RouteRequest, limit: CostLimit, prompt_tokens: int) -> int:
    """Returns how many output tokens for each choice the limit allows after the prompt; negative where none."""
    left_usd = limit.usd - _cost_for_limit_usd(entry, request, limit, prompt_tokens, 0)
    rate = Decimal(0) if entry.price is None else entry.price.max_rates(prompt_tokens)[1]
    if not rate:
        return UNLIMITED_TOKENS if left_usd >= 0 else -1
    return math.floor(left_usd * MILLION / rate / request.n_choices)


def _output_cap_to_send(entry: CatalogModel, request: RouteRequest, limit: CostLimit | None, cap: int) -> int | None:
    """Returns the output limit to send to the provider; None where the request's own limit is enough."""
    if request.task is Task.EMBEDDING:
        return None
    if request.output_tokens is not None:
        return cap if cap < request.output_tokens else None
    if entry.model.max_output_tokens is not None or request.output_limit is not None:
        return cap
    is_bounded = limit is not None and not entry.is_free and (not limit.is_default or cap < entry.window)
    return cap if is_bounded else None


def minimum_useful_cost_usd(
    entry: CatalogModel, request: RouteRequest, min_output_tokens: int, limit: CostLimit
) -> Decimal:
    """Returns the cost of the smallest useful answer, as the limit goes by it; 0 where the price is unknown."""
    useful = minimum_useful_output_tokens(entry, request, min_output_tokens)
    return _cost_for_limit_usd(entry, request, limit, _prompt_for_limit(entry, request, limit), useful)


def _cost_for_limit_usd(
    entry: CatalogModel, request: RouteRequest, limit: CostLimit, prompt_tokens: int, output_tokens: int
) -> Decimal:
    """Returns a cost as the limit goes by it: the upper bound; for a default limit, the cost without writes to a cache,
    which most requests do not have. 0 where the price is unknown.
    """
    if entry.price is not None and limit.is_default:
        return entry.price.cost_usd(Usage(prompt_tokens, output_tokens * request.n_choices))
    return _bound_usd(entry, request, prompt_tokens, output_tokens) or Decimal(0)
