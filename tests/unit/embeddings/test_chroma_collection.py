"""Reading a collection whose first write was interrupted. The real server gets into that state only by chance."""

from collections.abc import Callable
from typing import Any

import pytest

from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection
from sekha_llm_bridge.embeddings.store import StoreError

VECTOR = [0.5] * 4


class FailingVectors:
    """A collection of Chroma's client that lists its ids, and fails for every request that needs vectors."""

    def __init__(self, *ids: str) -> None:
        self._ids = list(ids)

    def get(self, *, include: list[str], **_: Any) -> dict[str, Any]:
        if "embeddings" in include:
            raise StoreError("status 500")
        return {"ids": self._ids}

    def query(self, **_: Any) -> dict[str, Any]:
        raise StoreError("status 500")


def page(collection: ServerCollection) -> Records:
    return collection.page(offset=0, limit=5)


def get(collection: ServerCollection) -> Records:
    return collection.get(["a"])


def nearest(collection: ServerCollection) -> list[Any]:
    return collection.nearest(VECTOR, limit=3, where=None)


@pytest.mark.parametrize("read", [page, get, nearest])
def test_a_collection_without_records_is_empty_though_chroma_cannot_read_its_vectors(
    read: Callable[[ServerCollection], Any],
) -> None:
    assert len(read(ServerCollection(FailingVectors()))) == 0


def test_it_has_no_dimension() -> None:
    assert ServerCollection(FailingVectors()).dimension is None


@pytest.mark.parametrize("read", [page, get, nearest])
def test_if_it_has_records_the_error_is_reported(read: Callable[[ServerCollection], Any]) -> None:
    with pytest.raises(StoreError, match="status 500"):
        read(ServerCollection(FailingVectors("a")))
