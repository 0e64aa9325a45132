"""Embedding requests: OpenAI's schema with the bridge's extensions, and the legacy format."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from sekha_llm_bridge.api.fields import CollectionName, MaxCost
from sekha_llm_bridge.pricing import decode_token_arrays

_MAX_INPUTS = 2048  # OpenAI's own limit for one request
_INT64 = 2**63
_MAX_ID_CHARACTERS = 2_048
_MAX_METADATA_BYTES = 65_536  # so that a record fits into one message of the queue

_Text = Annotated[str, Field(min_length=1)]
_TokenArray = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_InputForms = (
    _Text
    | Annotated[list[_Text], Field(min_length=1, max_length=_MAX_INPUTS)]
    | _TokenArray
    | Annotated[list[_TokenArray], Field(min_length=1, max_length=_MAX_INPUTS)]
)
Scalar = StrictStr | StrictBool | StrictInt | StrictFloat


class StorageFields(BaseModel):
    """The bridge's own fields of a request for vectors."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    collection: CollectionName | None = None
    ids: list[Annotated[str, Field(min_length=1, max_length=_MAX_ID_CHARACTERS)]] | None = None
    metadatas: list[dict[str, Scalar] | None] | None = None
    store: StrictBool | None = None
    max_cost: MaxCost | None = None
    preferred_model: str | None = None

    @field_validator("metadatas", mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        """Refuses what Chroma would refuse later, after the vectors have been billed."""
        for metadata in value if isinstance(value, list) else ():
            for key, item in metadata.items() if isinstance(metadata, dict) else ():
                if not key or key[0] in "#$" or key == "chroma:document":
                    raise ValueError(f"the key {key!r} is reserved or empty; give it another name")
                # A JSON parser may have rounded a larger integer to a float already.
                if isinstance(item, int | float) and item == item // 1 and not -_INT64 <= item < _INT64:
                    raise ValueError(f"the value of {key!r} is larger than 64 bits hold")
                if item is None or isinstance(item, dict | list):
                    raise ValueError(f"the value of {key!r} must be a text, a number or true or false")
            if metadata and len(orjson.dumps(metadata)) > _MAX_METADATA_BYTES:
                raise ValueError(
                    f"one text's metadata may have {_MAX_METADATA_BYTES} bytes as JSON; keep large data elsewhere"
                )
        return value

    @field_validator("ids")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("must be distinct: of two records with one id only the last would be kept")
        return value


class EmbeddingRequest(StorageFields):
    """`POST /v1/embeddings`. Arrays of tokens in `input` (ids of cl100k_base) are decoded to texts. Other fields, such
    as `input_type`, are for the provider.
    """

    input: list[str]
    model: str | None = None
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None

    @field_validator("input", mode="before", json_schema_input_type=_InputForms)
    @classmethod
    def _texts(cls, value: Any) -> list[str]:
        inputs = _inputs(value)
        if not all(inputs):
            raise ValueError(f"input[{next(i for i, one in enumerate(inputs) if not one)}] is an empty text")
        if len(inputs) > _MAX_INPUTS:
            raise ValueError(f"must hold at most {_MAX_INPUTS} texts, holds {len(inputs)}")
        return inputs if isinstance(inputs[0], str) else decode_token_arrays(inputs)

    @model_validator(mode="after")
    def _one_per_input(self) -> "EmbeddingRequest":
        for name in ("ids", "metadatas"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.input):
                raise ValueError(f"`{name}` must have one entry for each input: {len(self.input)}, not {len(given)}")
        return self


def _inputs(value: Any) -> list[Any]:
    """Returns the inputs, all texts or all arrays of tokens, from any of OpenAI's four forms."""
    match value:
        case str():
            return [value]
        case list() if set(map(type, value)) == {int}:
            return [value]
        case list() if set(map(type, value)) in ({str}, {list}):
            return value
    raise ValueError("must be a text, a list of texts, an array of tokens or a list of such arrays, and not empty")


KNOWN_FIELDS = frozenset(EmbeddingRequest.model_fields)
EXTENSIONS = frozenset(StorageFields.model_fields)
"""The bridge's own fields of an embedding request."""


class LegacyEmbedRequest(BaseModel):
    """`POST /embed`: one text, one vector."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    text: Annotated[str, Field(min_length=1)]
    model: str | None = None
    collection: CollectionName | None = None
    max_cost: MaxCost | None = None
