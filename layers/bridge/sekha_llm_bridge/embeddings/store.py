"""The interface of a vector store, and its errors. `chroma_store` implements it on a Chroma server.

StoreFailed
├── StoreDown              it does not answer, or its answer makes no sense: what it did not store can be sent again
│   └── StoreError         it answers with a server error (5xx)
└── StoreRefused           it rejects the request, and always will
    ├── QuotaExceeded      a record or the request is larger than its quotas allow
    ├── CollectionMissing  the collection does not exist, or no longer
    ├── NameTaken          another collection has that name
    └── SpaceMismatch      the collection holds vectors of another embedding space
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sekha_llm_bridge.embeddings.records import Batch, Database, Match


class StoreFailed(Exception):
    """A request to the store failed. The message says why, without any stored or sent text."""


class StoreDown(StoreFailed):
    """The store does not answer, or its answer makes no sense. What it did not store can be sent again later."""


class StoreError(StoreDown):
    """The store answers with a server error (5xx)."""


class StoreRefused(StoreFailed):
    """The store rejects the request, and always will."""


class QuotaExceeded(StoreRefused):
    """A record or the request is larger than a quota of the server allows: Chroma Cloud has quotas.

    `stored` is the number of the batch's records that are stored all the same.
    """

    def __init__(self, message: str, *, stored: int = 0) -> None:
        super().__init__(message)
        self.stored = stored


class CollectionMissing(StoreRefused):
    """The collection does not exist, or no longer."""


class NameTaken(StoreRefused):
    """Another collection has that name."""


class SpaceMismatch(StoreRefused):
    """The collection holds vectors of another embedding space."""


class VectorStore(Protocol):
    """The vectors of one database. Its methods block for a limited time; call them in a thread."""

    def in_database(self, database: Database) -> "VectorStore":
        """Returns the store of another database of the same server. Sends no request."""
        ...

    def prepare(self) -> None:
        """Does the slow part of the first use (imports) ahead of time. Raises `StoreFailed`."""
        ...

    def upsert(self, batch: Batch, *, should_continue: Callable[[], bool] = lambda: True) -> int:
        """Writes the batch; creates its collection at first use. Returns the number of records, each id once.

        Calls `should_continue` before each request, and stops when it returns False. Writing the same records again
        changes nothing. Raises `StoreFailed`; `QuotaExceeded` after it has stored the records that the quotas allow.
        """
        ...

    def spaces(self, base_name: str) -> Mapping[str, str | None]:
        """Returns the collections of a base name with their embedding spaces (None if unknown), by dimension.

        Raises `StoreFailed`.
        """
        ...

    def check_filter(self, where: Mapping[str, Any]) -> None:
        """Raises `StoreRefused` for a malformed filter. The store may still refuse one that passes."""
        ...

    def query(
        self, collection: str, space: str, vector: Sequence[float], *, limit: int, where: Mapping[str, Any] | None
    ) -> list[Match]:
        """Returns at most `limit` records of the collection, the nearest to `vector` first.

        `space` is the vector's. Raises `StoreFailed`; `StoreRefused` for a `where` that the store does not accept.
        """
        ...


def store_in(store: VectorStore, database: Database | None) -> VectorStore:
    """Returns the store of a batch's or a caller's database. None is that of `store`, the configured one."""
    return store if database is None else store.in_database(database)
