"""Which embedding space a collection's vectors are of: its metadata say so, and how new collections are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SPACE_KEY = "embedding_space"
DIMENSION_KEY = "dimension"
NEW_COLLECTION_CONFIGURATION: Mapping[str, Any] = {"hnsw": {"space": "cosine"}}
"""Chroma's configuration of the collections that the bridge makes."""


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """The space of a configured model, and the dimension of its vectors."""

    name: str
    dimension: int


def space_of(metadata: Mapping[str, Any], dimension: int, default: EmbeddingSpace | None) -> str | None:
    """The space that is recorded; without a mark that of the default model, where the dimension fits; None: nobody
    knows.
    """
    recorded = metadata.get(SPACE_KEY)
    if recorded:
        return str(recorded)
    return default.name if default is not None and default.dimension == dimension else None


def with_space_mark(metadata: Mapping[str, Any], space: str | None, dimension: int) -> dict[str, Any]:
    """The metadata with the mark, where the space is known; what they say already stays."""
    if space is None or SPACE_KEY in metadata:
        return dict(metadata)
    return {**metadata, SPACE_KEY: space, DIMENSION_KEY: dimension}
