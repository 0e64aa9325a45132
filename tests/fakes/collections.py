"""Collections with all that Chroma can hold, and what two servers must agree on for theirs to be the same."""

from typing import Any

import numpy

from sekha_llm_bridge.embeddings.backup.file_format import Record, index_configuration, to_rows
from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer

DIMENSION = 64
_WRITTEN_AT_ONCE = 500


def fill(collection: ServerCollection, count: int, *, first: int = 0, dimension: int = DIMENSION) -> None:
    """Writes records, of which some have no document, no metadata, or a URI."""
    for start in range(first, first + count, _WRITTEN_AT_ONCE):
        numbers = range(start, min(start + _WRITTEN_AT_ONCE, first + count))
        collection.upsert(
            Records(
                [f"id {number} é" for number in numbers],
                vectors(start, len(numbers), dimension),
                [f'secret {number}: "日本語"\n\t\u2028 🦊' if number % 3 else None for number in numbers],
                [_metadata(number) for number in numbers],
                [f"https://host/{number}" if number % 7 == 0 else None for number in numbers],
            )
        )


def _metadata(number: int) -> dict[str, Any] | None:
    if number % 5 == 0:
        return None
    return {"n": number, "x": float(number), "big": 2**53 + 1, "is": number % 2 == 0, "ü": ["a", "ß"], "i": [1, 2]}


def vectors(seed: int, count: int, dimension: int) -> Any:
    """Vectors that are the same at every call."""
    return numpy.random.default_rng(seed).standard_normal((count, dimension)).astype(numpy.float32)


def everything(server: ChromaServer, name: str) -> tuple[dict[str, Any], dict[str, Any], list[Record]]:
    """Metadata, configuration and records, in order."""
    collection = server.find(name)
    assert collection is not None
    return (
        collection.metadata,
        index_configuration(collection.configuration),
        list(to_rows(collection.page(offset=0, limit=10_000))),
    )


def without_vectors(records: list[Record]) -> list[bytes]:
    """The records' contents, in order."""
    return [record.contents() for record in records]
