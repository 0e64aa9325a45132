"""Searches as callers send them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from sekha_llm_bridge.api.embedding_request import CollectionName, MaxCost

_MOST_RESULTS = 1_000


class SearchRequest(BaseModel):
    """`POST /api/v1/search`. What it does not know is refused: a misspelt `where` would find too much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: Annotated[str, Field(min_length=1)]
    collection: CollectionName | None = None
    model: str | None = None
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None
    n_results: Annotated[int, Field(strict=True, ge=1, le=_MOST_RESULTS)] = 10
    where: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    all_dimensions: StrictBool = False
    max_cost: MaxCost | None = None
