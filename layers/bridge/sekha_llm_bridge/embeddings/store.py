"""What a vector store must do, and how it fails; `chroma_store` does it on a Chroma server.

StoreFailed
├── StoreDown            it does not answer, or not with sense: what it did not take can be sent again
└── StoreRefused         it will not have this, now or later
    ├── CollectionMissing   there is no such collection (any more)
    ├── NameTaken        another collection has that name
    └── SpaceMismatch    the collection holds vectors of another embedding space
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sekha_llm_bridge.embeddings.records import Batch, Match


class StoreFailed(Exception):
    """The store did not do as asked; the message says why, without any text that it holds or was sent."""


class StoreDown(StoreFailed):
    """The store does not answer, or not with sense: what it did not take can be sent again later."""


class StoreRefused(StoreFailed):
    """The store will not have this, now or later."""


class CollectionMissing(StoreRefused):
    """There is no such collection (any more)."""


class NameTaken(StoreRefused):
    """Another collection has that name."""


class SpaceMismatch(StoreRefused):
    """The collection holds vectors of another embedding space."""


class VectorStore(Protocol):
    """Where vectors are kept. Methods block for a bounded time; call them in a thread."""

    def prepare(self) -> None:
        """Does what is slow at first use (imports), so that it can overlap with a provider's answer. Raises
        `StoreFailed`.
        """
        ...

    def upsert(self, batch: Batch, *, should_continue: Callable[[], bool] = lambda: True) -> int:
        """Writes the batch, making its collection at first use; returns the number of distinct records. Begins no
        further request when it may not go on.

        Writing the same records again changes nothing. Raises `StoreFailed`.
        """
        ...

    def spaces(self, base_name: str) -> Mapping[str, str | None]:
        """The collections of a base name, lowest dimension first, and the space of each, None where nobody knows.

        Raises `StoreFailed`.
        """
        ...

    def check_filter(self, where: Mapping[str, Any]) -> None:
        """Raises `StoreRefused` for a filter that no search would take; one that passes may still be refused."""
        ...

    def query(
        self, collection: str, space: str, vector: Sequence[float], *, limit: int, where: Mapping[str, Any] | None
    ) -> list[Match]:
        """At most `limit` records of the collection, the nearest to `vector` first. `space` is the vector's.

        Raises `StoreFailed`, and `StoreRefused` for a `where` that the store does not understand.
        """
        ...
