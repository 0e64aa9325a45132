"""Embedding requests as callers send them: OpenAI's, with the bridge's extensions, and the legacy one."""

import math
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_MOST_INPUTS = 2048  # OpenAI's own limit for one request

CollectionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,400}$")]
Scalar = str | bool | int | float


class EmbeddingRequest(BaseModel):
    """`POST /v1/embeddings`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input: list[str]
    model: str | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    collection: CollectionName | None = None
    ids: list[Annotated[str, Field(min_length=1)]] | None = None
    metadatas: list[dict[str, Scalar] | None] | None = None
    store: bool | None = None
    max_cost: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] | None = None
    preferred_model: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts:
            raise ValueError("must be a text or a list of texts, and not empty")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("must be text; arrays of tokens are not taken")
        if not all(texts):
            raise ValueError("must not hold an empty text")
        if len(texts) > _MOST_INPUTS:
            raise ValueError(f"must hold at most {_MOST_INPUTS} texts, holds {len(texts)}")
        return texts

    @field_validator("metadatas")
    @classmethod
    def _finite(cls, value: list[dict[str, Scalar] | None] | None) -> list[dict[str, Scalar] | None] | None:
        for metadata in value or ():
            if any(isinstance(item, float) and not math.isfinite(item) for item in (metadata or {}).values()):
                raise ValueError("must hold finite numbers")
        return value

    @model_validator(mode="after")
    def _as_many(self) -> "EmbeddingRequest":
        for name in ("ids", "metadatas"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.input):
                raise ValueError(f"`{name}` must have one entry for each input: {len(self.input)}, not {len(given)}")
        return self


class LegacyEmbedRequest(BaseModel):
    """`POST /embed`: one text, one vector."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    text: Annotated[str, Field(min_length=1)]
    model: str | None = None
    collection: CollectionName | None = None
    max_cost: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] | None = None
