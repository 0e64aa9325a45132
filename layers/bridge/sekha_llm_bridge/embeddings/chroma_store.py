"""The vector store on a remote Chroma server. It writes vectors to the collection of their dimension and space.

Older versions of the bridge made collections without the dimension in their name. Such a collection is renamed when its
base name is first used, if the new name is free. Everything else is done by `migration`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection, vector_bytes
from sekha_llm_bridge.embeddings.chroma_quirks import metadata_replacing
from sekha_llm_bridge.embeddings.chroma_quotas import MAX_RECORDS, exceeds_a_quota, split_in_two
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.records import (
    Batch,
    Database,
    Match,
    VectorRecord,
    content_id,
    split_collection_name,
    target_collection_name,
)
from sekha_llm_bridge.embeddings.spaces import NEW_COLLECTION_CONFIGURATION, EmbeddingSpace, space_of, with_space
from sekha_llm_bridge.embeddings.store import (
    CollectionMissing,
    NameTaken,
    QuotaExceeded,
    SpaceMismatch,
    StoreDown,
    StoreRefused,
)

_MAX_BYTES = 16_000_000  # of documents and vectors in one request; Chroma's own limit is 40 MiB of JSON
_MAX_DATABASES = 200  # each with its cached collections; one for each API key
_MAX_UNEXPLAINED = 3  # records that a quota refuses although they are small: then it is a quota of the account
_CACHE_TTL = timedelta(minutes=1)  # another process may delete a collection, or give its name to another one


class ChromaStore:
    """A `VectorStore` on a Chroma server. It keeps what it knows of a database's collections for that database only.

    `default` is the space of the default embedding model. Collections without a recorded space are assumed to hold
    vectors of it, if the dimension is the same.
    """

    def __init__(self, server: ChromaServer, clock: Clock, *, default: EmbeddingSpace | None) -> None:
        self._server = server
        self._clock = clock
        self._default = default
        self._collections: dict[str, tuple[ServerCollection, datetime]] = {}
        self._checked_base_names: set[str] = set()
        self._other_databases = lru_cache(maxsize=_MAX_DATABASES)(self._with_database)

    def in_database(self, database: Database) -> "ChromaStore":
        """See `VectorStore.in_database`. Keeps the stores of the databases that were used last."""
        return self._other_databases(database)

    def _with_database(self, database: Database) -> "ChromaStore":
        return ChromaStore(self._server.in_database(database), self._clock, default=self._default)

    def prepare(self) -> None:
        """See `VectorStore.prepare`."""
        self._server.prepare()

    def upsert(self, batch: Batch, *, should_continue: Callable[[], bool] = lambda: True) -> int:
        """See `VectorStore.upsert`."""
        try:
            return self._write(batch, should_continue)
        except CollectionMissing:  # deleted after it was cached
            self._collections.pop(batch.collection, None)
            return self._write(batch, should_continue)

    def spaces(self, base_name: str) -> Mapping[str, str | None]:
        """See `VectorStore.spaces`. Sends one request for each 300 collections of the database."""
        self._rename_legacy(base_name)
        found = {}
        for collection in self._server.collections():
            parts = split_collection_name(collection.name)
            if parts is not None and base_name in {parts[0], collection.name}:
                self._cache(collection)
                found[collection.name] = (parts[1], space_of(collection.metadata, parts[1], self._default))
        return {name: space for name, (_, space) in sorted(found.items(), key=lambda item: item[1][0])}

    def check_filter(self, where: Mapping[str, Any]) -> None:
        """See `VectorStore.check_filter`."""
        self._server.check_filter(where)

    def query(
        self, collection: str, space: str, vector: Sequence[float], *, limit: int, where: Mapping[str, Any] | None
    ) -> list[Match]:
        """See `VectorStore.query`."""
        try:
            return self._query(collection, space, vector, limit=limit, where=where)
        except CollectionMissing:
            if self._collections.pop(collection, None) is None:
                raise
            return self._query(collection, space, vector, limit=limit, where=where)

    def _query(
        self, name: str, space: str, vector: Sequence[float], *, limit: int, where: Mapping[str, Any] | None
    ) -> list[Match]:
        collection = self._cached(name)
        if collection is None:
            collection = self._find(name, len(vector))
            if collection is None:
                raise CollectionMissing(f"there is no collection {name}")
            self._require_dimension(collection, len(vector))
            self._cache(collection)
        self._require_space(collection, len(vector), space)
        neighbours = collection.nearest(vector, limit=limit, where=where)
        return [
            Match(
                one.id,
                one.document,
                one.metadata,
                one.distance,
                similarity_score(one.distance, collection.distance),
                name,
            )
            for one in neighbours
        ]

    def _write(self, batch: Batch, should_continue: Callable[[], bool]) -> int:
        collection = self._collection_for(batch)
        records = batch.deduplicated()
        parts = split_into_batches(records, _size_of, max_size=_MAX_BYTES, max_items=MAX_RECORDS)
        refused = _write_within_quotas(collection, parts, should_continue)
        if refused:
            stored = len(records) - len(refused)
            reason = next(iter(refused.values()))
            raise QuotaExceeded(f"{len(refused)} of {len(records)} records: {reason}", stored=stored)
        return len(records)

    def _collection_for(self, batch: Batch) -> ServerCollection:
        """Returns the batch's collection; creates it at first use. Raises `SpaceMismatch`."""
        collection = self._cached(batch.collection)
        if collection is None:
            collection = self._find_or_create(batch)
            self._require_dimension(collection, batch.dimension)
            self._record_space(collection, batch.dimension)
            self._cache(collection)
        self._require_space(collection, batch.dimension, batch.space)
        return collection

    def _find_or_create(self, batch: Batch) -> ServerCollection:
        """Raises `StoreDown` instead of `StoreRefused`: the name is valid, so the cause (no database, say) may pass."""
        try:
            return self._find(batch.collection, batch.dimension) or self._server.find_or_create(
                batch.collection,
                metadata=with_space({}, batch.space, batch.dimension),
                configuration=NEW_COLLECTION_CONFIGURATION,
            )
        except QuotaExceeded:
            raise
        except StoreRefused as exc:
            raise StoreDown(str(exc)) from exc

    def _cached(self, name: str) -> ServerCollection | None:
        collection, until = self._collections.get(name, (None, None))
        return collection if until is not None and self._clock.now() < until else None

    def _cache(self, collection: ServerCollection) -> None:
        self._collections[collection.name] = collection, self._clock.now() + _CACHE_TTL

    def _find(self, name: str, dimension: int) -> ServerCollection | None:
        self._rename_legacy(name.removesuffix(f"_{dimension}"))
        return self._server.find(name)

    def _rename_legacy(self, base_name: str) -> None:
        """Renames the collection that has the base name itself. Does so once; sends one request if there is none."""
        if base_name in self._checked_base_names:
            return
        try:
            legacy = self._server.find(base_name)
            dimension = legacy.dimension if legacy is not None else None
            target = target_collection_name(base_name, dimension) if dimension else None
            if legacy is not None and dimension is not None and target is not None:
                space = space_of(legacy.metadata, dimension, self._default)
                legacy.rename(target, metadata=with_space(legacy.metadata, space, dimension))
        except (NameTaken, CollectionMissing, StoreRefused):
            pass  # the migration merges collections that cannot be renamed, and reports those that cannot be read
        self._checked_base_names.add(base_name)

    def _record_space(self, collection: ServerCollection, dimension: int) -> None:
        """Records the space in the collection's metadata, if it is known and not recorded yet."""
        metadata = collection.metadata
        wanted = with_space(metadata, space_of(metadata, dimension, self._default), dimension)
        if wanted != metadata:
            collection.replace_metadata(wanted)

    def _require_dimension(self, collection: ServerCollection, dimension: int) -> None:
        """Raises `SpaceMismatch` if the collection's vectors have another dimension than its name says."""
        actual = collection.declared_dimension
        if actual not in {None, dimension}:
            message = f"the collection {collection.name} holds vectors of {actual} dimensions, in spite of its name"
            raise SpaceMismatch(f"{message}; migrate-collections gives it another")

    def _require_space(self, collection: ServerCollection, dimension: int, space: str) -> None:
        actual = space_of(collection.metadata, dimension, self._default)
        if actual != space:
            holds = f"vectors of the space {actual}" if actual else "vectors of an unknown space"
            raise SpaceMismatch(
                f"the collection {collection.name} holds {holds}, not {space}; "
                "name another collection, or a model of that space"
            )


def _write_within_quotas(
    collection: ServerCollection, parts: Iterable[Sequence[VectorRecord]], should_continue: Callable[[], bool]
) -> dict[str, QuotaExceeded]:
    """Writes the parts. A part that a quota of the server refuses is divided until it is clear which records it
    refuses; the others are written. Returns the refused ones by id.

    Raises `QuotaExceeded` where small records are refused, too: then it is a quota of the account, for all of them.
    """
    refused: dict[str, QuotaExceeded] = {}
    stored, unexplained, waiting = 0, 0, deque(parts)
    while waiting:
        part = waiting.popleft()
        if not should_continue():
            raise StoreDown("the write was abandoned")
        try:
            collection.upsert(_as_columns(part, _stored_metadata(collection, part)))
        except QuotaExceeded as exc:
            if len(part) > 1:
                waiting.extendleft(reversed(split_in_two(part)))
                continue
            unexplained += not exceeds_a_quota(part[0])
            if unexplained == _MAX_UNEXPLAINED:
                raise QuotaExceeded(str(exc), stored=stored) from exc
            refused[part[0].id] = exc
        else:
            stored += len(part)
    return refused


def similarity_score(distance: float, measure: str) -> float:
    """Returns a score, higher is nearer: the cosine or the inner product; for `l2`, 1 / (1 + squared distance)."""
    return 1 / (1 + distance) if measure == "l2" else 1 - distance


def _size_of(record: VectorRecord) -> int:
    return vector_bytes(len(record.vector)) + len(record.document.encode())


def _stored_metadata(collection: ServerCollection, records: Sequence[VectorRecord]) -> Mapping[str, Mapping[str, Any]]:
    """Returns the metadata that the records replace, by id.

    A record without metadata whose id is the hash of its text keeps its stored metadata, so it is left out.
    """
    ids = [one.id for one in records if one.metadata is not None or one.id != content_id(one.document)]
    return collection.metadata_of(ids) if ids else {}


def _as_columns(records: Sequence[VectorRecord], stored: Mapping[str, Mapping[str, Any]]) -> Records:
    """Returns the records as they must be written to replace the `stored` metadata."""
    import numpy

    return Records(
        [record.id for record in records],
        numpy.asarray([record.vector for record in records], dtype=numpy.float32),
        [record.document for record in records],
        [metadata_replacing(record.metadata, stored.get(record.id)) for record in records],
    )
