"""What was used of one model: tokens and cost, as whole numbers that can be added up without an error."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

PICO_USD = Decimal(10) ** 12
"""Costs are counted in whole pico-USD: a price per million tokens with up to six decimals is exact."""


class UsedModel(NamedTuple):
    """A model, by the ids of the configuration."""

    provider_id: str
    model_id: str


class Amounts(NamedTuple):
    """What was used. `input_tokens` includes `cached_input_tokens`, which were read from the provider's cache.

    `cost_pico_usd` is the sum of the costs that are known. `max_cost_pico_usd` is the most that the providers can have
    billed: it includes attempts that were interrupted. Attempts whose model has no known price are in neither; they are
    counted by `unpriced_attempts`.
    """

    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_pico_usd: int = 0
    max_cost_pico_usd: int = 0
    unpriced_attempts: int = 0

    def plus(self, other: "Amounts") -> "Amounts":
        """Returns the sum."""
        return Amounts(*(one + more for one, more in zip(self, other, strict=True)))

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was used."""
        return not any(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Amounts":
        """Returns the amounts of a JSON object; fields that are not there are 0. Raises `ValueError` for anything but
        numbers that are whole and not negative.
        """
        values = [fields.get(name, 0) for name in cls._fields]
        if any(type(value) is not int or value < 0 for value in values):
            raise ValueError("amounts are whole numbers")
        return cls(*values)


def pico_usd(amount_usd: Decimal) -> int:
    """Returns an amount in pico-USD, rounded to a whole number."""
    return int((amount_usd * PICO_USD).to_integral_value())


def usd(amount_pico_usd: int) -> Decimal:
    """Returns an amount in USD."""
    return Decimal(amount_pico_usd) / PICO_USD
