"""The search request."""

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator

from sekha_llm_bridge.api.fields import CollectionName, MaxCost

_MAX_RESULTS = 1_000
_MAX_LEVELS = 30
_MAX_FILTER_BYTES = 8_192


class SearchRequest(BaseModel):
    """`POST /api/v1/search`. Unknown fields are refused: with a misspelt `where` a search would find too much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: Annotated[str, Field(min_length=1)]
    collection: CollectionName | None = None
    model: str | None = None
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None
    n_results: Annotated[int, Field(strict=True, ge=1, le=_MAX_RESULTS)] = 10
    where: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    all_dimensions: StrictBool = False
    max_cost: MaxCost | None = None

    @field_validator("where")
    @classmethod
    def _not_too_large(cls, where: dict[str, Any] | None) -> dict[str, Any] | None:
        """Refuses filters that are larger than any that a person writes."""
        if where is not None and _levels(where) > _MAX_LEVELS:
            raise ValueError(f"must not be nested deeper than {_MAX_LEVELS} levels")
        if where is not None and len(orjson.dumps(where)) > _MAX_FILTER_BYTES:
            raise ValueError(f"must not have more than {_MAX_FILTER_BYTES} bytes as JSON")
        return where


def _levels(value: object) -> int:
    level, inside = 0, [value]
    while inside:
        level += 1
        parts = [one.values() if isinstance(one, dict) else one for one in inside if isinstance(one, dict | list)]
        inside = [one for part in parts for one in part]
    return level
