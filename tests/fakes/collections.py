"""Writes test collections with every kind of value that Chroma supports, and reads them for comparison."""

from typing import Any

import numpy

from sekha_llm_bridge.embeddings.backup.file_format import Record, index_configuration, to_rows
from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer

DIMENSION = 64
_BATCH_SIZE = 500


def fill(collection: ServerCollection, count: int, *, first: int = 0, dimension: int = DIMENSION) -> None:
    """Writes records. Some have no document, some no metadata, and some have a URI."""
    for start in range(first, first + count, _BATCH_SIZE):
        numbers = range(start, min(start + _BATCH_SIZE, first + count))
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
    """Returns vectors that are the same for the same seed. The shape is `(count, dimension)`."""
    return numpy.random.default_rng(seed).standard_normal((count, dimension)).astype(numpy.float32)


def collection_contents(server: ChromaServer, name: str) -> tuple[dict[str, Any], dict[str, Any], list[Record]]:
    """Returns a collection's metadata, index configuration and records, in order."""
    collection = server.find(name)
    assert collection is not None
    return (
        collection.metadata,
        index_configuration(collection.configuration),
        list(to_rows(collection.page(offset=0, limit=10_000))),
    )


def record_contents(records: list[Record]) -> list[bytes]:
    """Returns the records' contents without their vectors, in order."""
    return [record.contents() for record in records]
