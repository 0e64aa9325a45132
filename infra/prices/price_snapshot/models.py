"""What the snapshot says of one model: rates, or why it has none.

Rates stand only where text in and text out are all that a chat or an embedding request is billed by.
"""

import re
from collections.abc import Iterator, Sequence, Set
from datetime import date

from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from price_snapshot.rates import WRITES, dearest_price, prices_from
from price_snapshot.rules import rule_of
from sekha_llm_bridge.pricing.price import Rates, usd_text
from sekha_llm_bridge.pricing.snapshot import ListedModel, ListedRates, bills_more_than_tokens

_MODELLED = frozenset({"input_mtok", "output_mtok", "cache_read_mtok", "requests_kcount", *WRITES})
# They arise only from what a cost limit excludes anyway: sound, video, and tools of the provider's own.
_EXCLUDED_ANYWAY = frozenset(
    {"audio_hours", "cache_audio_read_mtok", "input_audio_hours", "input_audio_mtok", "input_video_mtok"}
    | {"output_audio_mtok", "storage_searches_kcount", "web_searches_kcount"}
)
# Without an output price a model is never chatted with, and what is embedded is text.
_NEVER_EMBEDDED = frozenset({"input_image_mtok"})
# What a request must ask for to be billed otherwise.
_ASKED_FOR = frozenset({"processing", "search_type", "service_tier", "speed"})
_GUESSED = re.compile(r"verify against|trusting")
_CONFIRMED = "Verified against"


def listed(model: ModelInfo, day: date) -> ListedModel:
    """The entry of a model with the prices of that day and later."""
    prices = prices_from(model, day)
    reason = next(_doubts(model, prices), None)
    return unpriced(model, reason) if reason else priced(model, prices)


def unpriced(model: ModelInfo, reason: str) -> ListedModel:
    """The entry of a model that cannot be priced."""
    return {**_named(model), "unpriced": reason}


def priced(model: ModelInfo, prices: Sequence[ModelPrice]) -> ListedModel:
    """The entry of a model that costs no more than the dearest of these prices."""
    price, meters = dearest_price(prices), _meters(prices)
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
    usual = rates.input_usd_per_mtok
    output = rates.output_usd_per_mtok if "output_mtok" in meters else None
    cached, written = rates.cached_input_usd_per_mtok, rates.cache_write_usd_per_mtok
    others = (None if usd == usual else usd for usd in (cached, written))
    figures = [None if usd is None else usd_text(usd) for usd in (usual, output, *others)]
    while figures[-1] is None:
        figures.pop()
    return figures


def _meters(prices: Sequence[ModelPrice]) -> set[str]:
    """Everything that any of them bills."""
    return {meter for price in prices for meter, rate in vars(price).items() if rate is not None}


def _doubts(model: ModelInfo, prices: Sequence[ModelPrice]) -> Iterator[str]:
    """Why a bound computed from these prices might not hold, in short."""
    meters = _meters(prices)
    if not meters:
        yield "no price"
    if any(price.input_mtok is None for price in prices):
        yield "no input price"
    if "output_mtok" in meters and any(price.output_mtok is None for price in prices):
        yield "no output price at times"
    harmless = _MODELLED | _EXCLUDED_ANYWAY | (frozenset() if "output_mtok" in meters else _NEVER_EMBEDDED)
    yield from sorted(meters - harmless)
    if any(isinstance(price.requests_kcount, TieredPrices) for price in prices):
        yield "a fee per request with tiers"
    if "requests_kcount" not in meters and bills_more_than_tokens(model.id):
        yield "bills more than tokens"
    asked = {key for variant in model.price_variants or () for key in variant.when}
    yield from (f"depends on {key}" for key in sorted(asked - _ASKED_FOR))
    if _is_guessed(model.price_comments or ""):
        yield "guessed from another seller"


def _is_guessed(comment: str) -> bool:
    return _GUESSED.search(comment) is not None and _CONFIRMED not in comment
