"""The embedding space of a collection's vectors, which is recorded in the collection's metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SPACE_KEY = "embedding_space"
DIMENSION_KEY = "dimension"
NEW_COLLECTION_CONFIGURATION: Mapping[str, Any] = {"hnsw": {"space": "cosine"}}
"""Chroma's configuration of the collections that the bridge creates."""


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """The embedding space of a configured model, and the dimension of its vectors."""

    name: str
    dimension: int


def space_of(metadata: Mapping[str, Any], dimension: int, default: EmbeddingSpace | None) -> str | None:
    """Returns the name of the space that the metadata record.

    Without a record, returns the default space if its dimension is the collection's; else None.
    """
    recorded = metadata.get(SPACE_KEY)
    if recorded:
        return str(recorded)
    return default.name if default is not None and default.dimension == dimension else None


def with_space(metadata: Mapping[str, Any], space: str | None, dimension: int) -> dict[str, Any]:
    """Returns the metadata with the space and the dimension added, unless a space is recorded or `space` is None."""
    if space is None or SPACE_KEY in metadata:
        return dict(metadata)
    return {**metadata, SPACE_KEY: space, DIMENSION_KEY: dimension}
