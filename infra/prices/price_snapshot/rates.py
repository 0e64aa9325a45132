"""The prices of a model from a day on. If several prices apply at different times, the highest rate of each kind."""

from collections.abc import Iterator, Sequence
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

_HOUR_WRITE = "cache_write_1h_mtok"
WRITES = ("cache_write_mtok", "cache_write_5m_mtok", _HOUR_WRITE)
_NO_TIER = -1


def prices_from(model: ModelInfo, day: date) -> list[ModelPrice]:
    """Returns every price that applies at some time of `day` or later."""
    if isinstance(model.prices, ModelPrice):
        return [model.prices]
    found: list[ModelPrice] = []
    for moment in _moments(model.prices, day):
        price = model.get_prices(moment)
        if price not in found:
            found.append(price)
    return found


def _moments(prices: Sequence[ConditionalPrice], day: date) -> Iterator[datetime]:
    """Yields the UTC times at which a price can change."""
    limits = [price.constraint for price in prices]
    starts = {limit.start_date for limit in limits if isinstance(limit, StartDateConstraint)}
    daily = [limit for limit in limits if isinstance(limit, TimeOfDateConstraint)]
    times = {time.min, *(limit.start_time for limit in daily), *(limit.end_time for limit in daily)}
    for start in sorted({day, *(start for start in starts if start > day)}):
        yield from (datetime.combine(start, moment) for moment in times)


def highest_price(prices: Sequence[ModelPrice]) -> Price:
    """Returns a price that is not exceeded by any of `prices` for any request. Each must have an input price."""
    starts = sorted({start for price in prices for start in _tier_starts(price)})
    steps = [(above, _highest_rates(prices, above)) for above in (_NO_TIER, *starts)]
    tiers = [Tier(above, rates) for (_, before), (above, rates) in pairwise(steps) if rates != before]
    return Price(steps[0][1], "", tuple(tiers), max(map(_request_usd, prices)))


def _tier_starts(price: ModelPrice) -> Iterator[int]:
    for rate in vars(price).values():
        if isinstance(rate, TieredPrices):
            yield from (tier.start for tier in rate.tiers)


def _highest_rates(prices: Sequence[ModelPrice], above: int) -> Rates:
    columns = zip(*(_listed_rates(_rates(price, above)) for price in prices), strict=True)
    return Rates(*map(max, columns))


def _listed_rates(rates: Rates) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Returns the rates that the list has."""
    input_usd, cached_usd = rates.input_usd_per_mtok, rates.cached_input_usd_per_mtok
    return input_usd, rates.output_usd_per_mtok, cached_usd, rates.cache_write_usd_per_mtok


def _rates(price: ModelPrice, above: int) -> Rates:
    input_usd = _usd(price, "input_mtok", above) or Decimal(0)
    cached = _usd(price, "cache_read_mtok", above)
    return Rates(
        input_usd_per_mtok=input_usd,
        output_usd_per_mtok=_usd(price, "output_mtok", above) or Decimal(0),
        cached_input_usd_per_mtok=input_usd if cached is None else cached,
        cache_write_usd_per_mtok=_written(price, input_usd, above),
    )


def _written(price: ModelPrice, input_usd: Decimal, above: int) -> Decimal:
    """Returns the highest rate of a cache write that lasts for five minutes. That of an hour is not in the list: it
    follows from the input rate of Claude's models (`pricing/snapshot.py`).

    A rate below the input rate is added to the input rate: OpenRouter lists the storage of Gemini's cache like that.
    """
    write_rates = [usd for meter in WRITES if meter != _HOUR_WRITE and (usd := _usd(price, meter, above)) is not None]
    highest = max(write_rates, default=input_usd)
    return highest if highest >= input_usd else input_usd + highest


def _usd(price: ModelPrice, meter: str, above: int) -> Decimal | None:
    """Returns the rate for prompts that are slightly longer than `above` tokens."""
    rate: Decimal | TieredPrices | None = getattr(price, meter)
    if not isinstance(rate, TieredPrices):
        return rate
    return next((tier.price for tier in reversed(rate.tiers) if above >= tier.start), rate.base)


def _request_usd(price: ModelPrice) -> Decimal:
    """Returns the price of one request; genai-prices has the price of a thousand."""
    return (_usd(price, "requests_kcount", _NO_TIER) or Decimal(0)) / 1000
