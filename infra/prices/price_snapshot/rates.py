"""What a model costs from a day on. Where several prices can still come into force, the dearest of each kind."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import date, datetime, time
from decimal import Decimal
from itertools import pairwise

from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from sekha_llm_bridge.pricing.price import Price, Rates, Tier

WRITES = ("cache_write_mtok", "cache_write_5m_mtok", "cache_write_1h_mtok")
_NO_TIER = -1


def prices_from(model: ModelInfo, day: date) -> list[ModelPrice]:
    """Every price that is in force at some moment of that day or later."""
    if isinstance(model.prices, ModelPrice):
        return [model.prices]
    found: list[ModelPrice] = []
    for moment in _moments(model.prices, day):
        price = model.get_prices(moment)
        if price not in found:
            found.append(price)
    return found


def _moments(prices: Sequence[ConditionalPrice], day: date) -> Iterator[datetime]:
    """Moments (UTC) between which no price changes."""
    limits = [price.constraint for price in prices]
    starts = {limit.start_date for limit in limits if isinstance(limit, StartDateConstraint)}
    daily = [limit for limit in limits if isinstance(limit, TimeOfDateConstraint)]
    times = {time.min, *(limit.start_time for limit in daily), *(limit.end_time for limit in daily)}
    for start in sorted({day, *(start for start in starts if start > day)}):
        yield from (datetime.combine(start, moment) for moment in times)


def dearest_price(prices: Sequence[ModelPrice]) -> Price:
    """The price that none of them exceeds, whatever is asked; each of them has an input price. Its source is empty."""
    starts = sorted({start for price in prices for start in _tier_starts(price)})
    steps = [(above, _dearest_rates(prices, above)) for above in (_NO_TIER, *starts)]
    tiers = [Tier(above, rates) for (_, before), (above, rates) in pairwise(steps) if rates != before]
    return Price(steps[0][1], "", tuple(tiers), max(map(_request_usd, prices)))


def _tier_starts(price: ModelPrice) -> Iterator[int]:
    for rate in vars(price).values():
        if isinstance(rate, TieredPrices):
            yield from (tier.start for tier in rate.tiers)


def _dearest_rates(prices: Sequence[ModelPrice], above: int) -> Rates:
    columns = zip(*(astuple(_rates(price, above)) for price in prices), strict=True)
    return Rates(*map(max, columns))


def _rates(price: ModelPrice, above: int) -> Rates:
    usual = _usd(price, "input_mtok", above) or Decimal(0)
    cached = _usd(price, "cache_read_mtok", above)
    return Rates(
        input_usd_per_mtok=usual,
        output_usd_per_mtok=_usd(price, "output_mtok", above) or Decimal(0),
        cached_input_usd_per_mtok=usual if cached is None else cached,
        cache_write_usd_per_mtok=_written(price, usual, above),
    )


def _written(price: ModelPrice, usual: Decimal, above: int) -> Decimal:
    """The dearest way of writing to the cache. A write that is cheaper than input comes on top of it: OpenRouter lists
    so what Gemini's cache takes for storage.
    """
    given = [usd for meter in WRITES if (usd := _usd(price, meter, above)) is not None]
    dearest = max(given, default=usual)
    return dearest if dearest >= usual else usual + dearest


def _usd(price: ModelPrice, meter: str, above: int) -> Decimal | None:
    """The rate of prompts that are a little longer than `above` tokens."""
    rate: Decimal | TieredPrices | None = getattr(price, meter)
    if not isinstance(rate, TieredPrices):
        return rate
    return next((tier.price for tier in reversed(rate.tiers) if above >= tier.start), rate.base)


def _request_usd(price: ModelPrice) -> Decimal:
    """Per request; genai-prices has it per thousand."""
    return (_usd(price, "requests_kcount", _NO_TIER) or Decimal(0)) / 1000
