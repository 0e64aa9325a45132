"""What a request costs with one model: the likely cost, the cost that cannot be exceeded, and how many output tokens a
limit leaves.
"""

import math
from collections.abc import Callable
from decimal import Decimal

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.pricing.price import MILLION
from sekha_llm_bridge.providers import PriceCeiling
from sekha_llm_bridge.routing.catalog import ENDLESS, PICO_USD, CatalogModel
from sekha_llm_bridge.routing.plan import Candidate, Quote
from sekha_llm_bridge.routing.route_request import RouteRequest
from sekha_llm_bridge.usage import Usage

DEFAULT_MAX_OUTPUT_TOKENS = 4096
UNKNOWN_COST = 1 << 99  # in pico-USD: above any known cost


def estimated_cost_in_pico_usd(request: RouteRequest) -> Callable[[CatalogModel], int]:
    """Gives the likely cost in pico-USD, for comparing models; of an unknown price more than any known one."""
    prompt, images, answers = request.prompt.estimate, request.prompt.images, request.answers
    most = 0 if request.task is Task.EMBEDDING else request.output_tokens or ENDLESS

    def cost(entry: CatalogModel) -> int:
        integer_rates = entry.integer_rates
        if integer_rates is None:
            return UNKNOWN_COST
        if not integer_rates.is_flat:
            return round((estimate_usd(entry, request) or 0) * PICO_USD)
        # min() would take twice as long, for every model.
        output = entry.estimated_output if entry.estimated_output < most else most  # noqa: FURB136
        return (
            prompt + images * entry.estimated_image_tokens
        ) * integer_rates.input_rate + output * answers * integer_rates.output_rate

    return cost


def is_within_limit(
    request: RouteRequest, limit_usd: Decimal, min_output_tokens: int
) -> Callable[[CatalogModel], bool]:
    """Tells whether a useful answer of a model surely costs no more than the limit: by the cheap count where that is
    enough, else by the exact one. No answer surely does where the price is not known.
    """
    prompt, images, answers = request.prompt.bound, request.prompt.images, request.answers
    least = 0 if request.task is Task.EMBEDDING else min(min_output_tokens, request.output_tokens or ENDLESS)
    limit = int(limit_usd * PICO_USD)

    def fits(entry: CatalogModel) -> bool:
        integer_rates = entry.integer_rates
        if integer_rates is None:
            return False
        if integer_rates.is_flat:
            output = least if least < entry.max_output else entry.max_output  # noqa: FURB136 — as above
            tokens = prompt + images * entry.max_image_tokens
            if tokens * integer_rates.max_input_rate + output * answers * integer_rates.max_output_rate <= limit:
                return True
            if entry.tokenizer is None:
                return integer_rates.is_free
        return minimum_useful_cost_usd(entry, request, min_output_tokens) <= limit_usd

    return fits


def estimate_usd(entry: CatalogModel, request: RouteRequest) -> Decimal | None:
    """The likely cost; None where the price is not known."""
    if entry.price is None:
        return None
    usage = Usage(prompt_estimate(entry, request), estimated_output(entry, request) * request.answers)
    return entry.price.cost_usd(usage)


def estimated_output(entry: CatalogModel, request: RouteRequest) -> int:
    """Output tokens that an answer probably has; embeddings have none."""
    if request.task is Task.EMBEDDING:
        return 0
    asked = request.output_tokens
    return entry.estimated_output if asked is None or asked > entry.estimated_output else asked


def prompt_estimate(entry: CatalogModel, request: RouteRequest) -> int:
    """Prompt tokens, probably."""
    return request.prompt.estimate + request.prompt.images * entry.estimated_image_tokens


def prompt_bound(entry: CatalogModel, request: RouteRequest) -> int:
    """Prompt tokens at most, by the cheap count."""
    return request.prompt.bound + request.prompt.images * entry.max_image_tokens


def exact_prompt_bound(entry: CatalogModel, request: RouteRequest) -> int:
    """Prompt tokens at most, counted exactly where the model's tokenizer is known."""
    return request.prompt.bound_for(entry.tokenizer) + request.prompt.images * entry.max_image_tokens


def useful_output(entry: CatalogModel, request: RouteRequest, min_output_tokens: int) -> int:
    """The fewest output tokens that are worth asking for."""
    if request.task is Task.EMBEDDING:
        return 0
    return min(min_output_tokens, request.output_tokens or ENDLESS, entry.max_output)


def quote(entry: CatalogModel, request: RouteRequest, limit_usd: Decimal | None, min_output_tokens: int) -> Quote:
    """What the request costs with this model within `limit_usd`; where nothing useful fits, what the least would.

    The cheap count comes first; the exact one is made only where the cheap one leaves fewer output tokens than wanted.
    """
    prompt = prompt_bound(entry, request)
    if limit_usd is None or entry.price is None or entry.is_free:
        return _quote(entry, request, prompt, _unlimited_output(entry, request, prompt))
    wanted = _most_output(entry, request, prompt)
    affordable = _affordable_output(entry, request, limit_usd, prompt)
    if affordable < wanted:
        prompt = exact_prompt_bound(entry, request)
        wanted = _most_output(entry, request, prompt)
        affordable = _affordable_output(entry, request, limit_usd, prompt)
    return _quote(
        entry, request, prompt, min(wanted, max(affordable, useful_output(entry, request, min_output_tokens)))
    )


def candidate(
    entry: CatalogModel, request: RouteRequest, limit_usd: Decimal | None, min_output_tokens: int
) -> Candidate:
    """The model with its quote, and the output limit that its provider is told."""
    quoted = quote(entry, request, limit_usd, min_output_tokens)
    ceiling = None
    if limit_usd is not None and entry.price is not None and not entry.is_free:
        ceiling = PriceCeiling(*entry.price.ceiling(quoted.prompt_tokens))
    return Candidate(entry, quoted, _cap_to_send(entry, request, limit_usd, quoted.output_cap), ceiling)


def _quote(entry: CatalogModel, request: RouteRequest, prompt_tokens: int, cap: int) -> Quote:
    bound_usd, likely_usd = _bound_usd(entry, request, prompt_tokens, cap), estimate_usd(entry, request)
    if bound_usd is not None and likely_usd is not None:
        likely_usd = min(likely_usd, bound_usd)  # an exact count may be below the estimate
    return Quote(likely_usd, bound_usd, prompt_tokens, cap)


def _bound_usd(entry: CatalogModel, request: RouteRequest, prompt_tokens: int, output_tokens: int) -> Decimal | None:
    if entry.price is None:
        return None
    return entry.price.bound_usd(prompt_tokens=prompt_tokens, completion_tokens=output_tokens * request.answers)


def _unlimited_output(entry: CatalogModel, request: RouteRequest, prompt_tokens: int) -> int:
    """The most output tokens of one answer where no cost limit holds."""
    if request.output_tokens is None and entry.model.max_output_tokens is None and request.task is not Task.EMBEDDING:
        return entry.window  # nothing is sent, so nothing but the window stops the model
    return _most_output(entry, request, prompt_tokens)


def _most_output(entry: CatalogModel, request: RouteRequest, prompt_tokens: int) -> int:
    """The most output tokens to ask for in one answer, so that the provider does not refuse the number.

    A provider refuses more than its model can give, or than the window has left beside the prompt; so where neither
    request nor configuration says, it is a number that current models take, and at most half of what is likely left.
    """
    if request.task is Task.EMBEDDING:
        return 0
    if request.output_tokens is not None:
        return min(request.output_tokens, entry.max_output)
    room = max(entry.window - prompt_tokens, (entry.window - prompt_estimate(entry, request)) // 2, 1)
    return min(entry.model.max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS, room)


def _affordable_output(entry: CatalogModel, request: RouteRequest, limit_usd: Decimal, prompt_tokens: int) -> int:
    """How many output tokens for each answer the limit leaves after the prompt; negative when it leaves nothing."""
    left_usd = limit_usd - (_bound_usd(entry, request, prompt_tokens, 0) or Decimal(0))
    rate = Decimal(0) if entry.price is None else entry.price.dearest(prompt_tokens)[1]
    if not rate:
        return ENDLESS if left_usd >= 0 else -1
    return math.floor(left_usd * MILLION / rate / request.answers)


def _cap_to_send(entry: CatalogModel, request: RouteRequest, limit_usd: Decimal | None, cap: int) -> int | None:
    """What the provider is told to stop at, where the request's own limit does not do: the bound counts on it."""
    if request.task is Task.EMBEDDING:
        return None
    if request.output_tokens is not None:
        return cap if cap < request.output_tokens else None
    is_bounded = limit_usd is not None and not entry.is_free
    return cap if is_bounded or entry.model.max_output_tokens is not None else None


def minimum_useful_cost_usd(entry: CatalogModel, request: RouteRequest, min_output_tokens: int) -> Decimal:
    """The upper bound of the cost of the least useful answer; nothing where the price is not known."""
    useful = useful_output(entry, request, min_output_tokens)
    return _bound_usd(entry, request, exact_prompt_bound(entry, request), useful) or Decimal(0)
