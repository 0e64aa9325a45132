"""Types of request fields that several inbound APIs share."""

from decimal import ROUND_DOWN, Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.routing.catalog import DEFAULT_NAMES

TaskName = Annotated[
    Task, BeforeValidator(lambda value: DEFAULT_NAMES.get(value, value) if isinstance(value, str) else value)
]
"""A task, or the key of `default_models` that stands for it."""

_SMALLEST_USD = Decimal("1e-12")
MaxCost = Annotated[
    Decimal,
    Field(ge=0, le=1_000_000, allow_inf_nan=False),
    AfterValidator(lambda usd: usd.quantize(_SMALLEST_USD, ROUND_DOWN)),
]
"""A cost limit in USD, rounded down to a picodollar, which is finer than any price."""


def _without_double_dot(name: str) -> str:
    if ".." in name:
        raise ValueError("must not hold two dots in a row")
    return name


CollectionName = Annotated[
    str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,400}$"), AfterValidator(_without_double_dot)
]
"""The base name of a Chroma collection, without its dimension."""
