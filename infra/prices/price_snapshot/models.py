"""Makes the snapshot's entry of one model: its rates, or the reason why it has none.

A model has rates only if a chat or embedding request is billed by its input and output text alone.
"""

import re
from collections.abc import Iterator, Sequence, Set
from datetime import date

from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from price_snapshot.rates import WRITES, highest_price, prices_from
from price_snapshot.rules import rule_of
from sekha_llm_bridge.pricing.price import Rates, usd_text
from sekha_llm_bridge.pricing.snapshot import ListedModel, ListedRates, bills_more_than_tokens

_MODELLED = frozenset({"input_mtok", "output_mtok", "cache_read_mtok", "requests_kcount", *WRITES})
# Billed only for requests that a cost limit excludes: audio, video, and tools of the provider.
_EXCLUDED_BY_LIMITS = frozenset(
    {"audio_hours", "cache_audio_read_mtok", "input_audio_hours", "input_audio_mtok", "input_video_mtok"}
    | {"output_audio_mtok", "storage_searches_kcount", "web_searches_kcount"}
)
# A model without an output price gets no chat requests, and only text is embedded.
_NOT_USED_BY_EMBEDDINGS = frozenset({"input_image_mtok"})
# Request options with another price. The bridge does not use them.
_OPT_IN = frozenset({"processing", "search_type", "service_tier", "speed"})
_GUESSED = re.compile(r"verify against|trusting")
_CONFIRMED = "Verified against"


def listed(model: ModelInfo, day: date) -> ListedModel:
    """Returns the entry of a model with the prices of `day` and later."""
    prices = prices_from(model, day)
    reason = next(_reasons_without_rates(model, prices), None)
    return unpriced(model, reason) if reason else priced(model, prices)


def unpriced(model: ModelInfo, reason: str) -> ListedModel:
    """Returns the entry of a model without rates."""
    return {**_named(model), "unpriced": reason}


def priced(model: ModelInfo, prices: Sequence[ModelPrice]) -> ListedModel:
    """Returns the entry of a model, with the highest of these prices."""
    price, meters = highest_price(prices), _meters(prices)
    entry: ListedModel = {**_named(model), "usd": _figures(price.rates, meters)}
    if price.tiers:
        entry["tiers"] = [(tier.above_tokens, _figures(tier.rates, meters)) for tier in price.tiers]
    if price.request_usd:
        entry["request"] = usd_text(price.request_usd)
    return entry


def _named(model: ModelInfo) -> ListedModel:
    name, rule = model.id.lower(), rule_of(model.match)
    return {"id": name} if rule == name else {"id": name, "match": rule}


def _figures(rates: Rates, meters: Set[str]) -> ListedRates:
    input_usd = rates.input_usd_per_mtok
    output = rates.output_usd_per_mtok if "output_mtok" in meters else None
    cached, written = rates.cached_input_usd_per_mtok, rates.cache_write_usd_per_mtok
    others = (None if usd == input_usd else usd for usd in (cached, written))
    figures = [None if usd is None else usd_text(usd) for usd in (input_usd, output, *others)]
    while figures[-1] is None:
        figures.pop()
    return figures


def _meters(prices: Sequence[ModelPrice]) -> set[str]:
    """Returns the names of everything that any of the prices bills."""
    return {meter for price in prices for meter, rate in vars(price).items() if rate is not None}


def _reasons_without_rates(model: ModelInfo, prices: Sequence[ModelPrice]) -> Iterator[str]:
    """Yields the reasons why a cost computed from these prices could be too low."""
    meters = _meters(prices)
    if not meters:
        yield "no price"
    if any(price.input_mtok is None for price in prices):
        yield "no input price"
    if "output_mtok" in meters and any(price.output_mtok is None for price in prices):
        yield "no output price in some periods"
    harmless = _MODELLED | _EXCLUDED_BY_LIMITS | (frozenset() if "output_mtok" in meters else _NOT_USED_BY_EMBEDDINGS)
    yield from sorted(meters - harmless)
    if any(isinstance(price.requests_kcount, TieredPrices) for price in prices):
        yield "a fee per request with tiers"
    if "requests_kcount" not in meters and bills_more_than_tokens(model.id):
        yield "bills more than tokens"
    conditions = {key for variant in model.price_variants or () for key in variant.when}
    yield from (f"depends on {key}" for key in sorted(conditions - _OPT_IN))
    if _is_guessed(model.price_comments or ""):
        yield "guessed from another seller"


def _is_guessed(comment: str) -> bool:
    return _GUESSED.search(comment) is not None and _CONFIRMED not in comment
