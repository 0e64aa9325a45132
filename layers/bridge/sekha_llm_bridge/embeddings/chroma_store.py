"""Vectors on a remote Chroma server: written to the collection of their dimension, never beside those of another space.

A collection from before dimensions were part of the name is renamed when its base name is first used here, if its new
name is free; what is more than that is the work of `migration`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.chroma_quirks import metadata_replacing
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer, Records, ServerCollection, vector_bytes
from sekha_llm_bridge.embeddings.records import (
    Batch,
    Match,
    VectorRecord,
    content_id,
    split_collection_name,
    target_collection_name,
)
from sekha_llm_bridge.embeddings.spaces import NEW_COLLECTION_CONFIGURATION, EmbeddingSpace, space_of, with_space_mark
from sekha_llm_bridge.embeddings.store import CollectionMissing, NameTaken, SpaceMismatch, StoreDown, StoreRefused

_MOST_RECORDS = 1_000  # in one request; Chroma's own limit is 5461
_MOST_BYTES = 16_000_000  # of documents and vectors in one request; Chroma's own limit is 40 MiB of JSON
_KNOWN_FOR = timedelta(minutes=1)


class ChromaStore:
    """A `VectorStore` on a Chroma server.

    `default` is the space of the default embedding model: a collection from before spaces were recorded is taken to
    hold its vectors, where the dimension fits.
    """

    def __init__(self, server: ChromaServer, clock: Clock, *, default: EmbeddingSpace | None) -> None:
        self._server = server
        self._clock = clock
        self._default = default
        self._collections: dict[str, tuple[ServerCollection, datetime]] = {}
        self._adopted: set[str] = set()

    def prepare(self) -> None:
        """See `VectorStore.prepare`."""
        self._server.prepare()

    def upsert(self, batch: Batch, *, should_continue: Callable[[], bool] = lambda: True) -> int:
        """See `VectorStore.upsert`."""
        try:
            return self._write(batch, should_continue)
        except CollectionMissing:  # deleted since it was looked up
            self._collections.pop(batch.collection, None)
            return self._write(batch, should_continue)

    def spaces(self, base_name: str) -> Mapping[str, str | None]:
        """See `VectorStore.spaces`: one request for each thousand collections of the server."""
        self._adopt(base_name)
        found = {}
        for collection in self._server.collections():
            parts = split_collection_name(collection.name)
            if parts is not None and base_name in {parts[0], collection.name}:
                self._remember(collection)
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
        found = self._known(name)
        if found is None:
            found = self._find(name, len(vector))
            if found is None:
                raise CollectionMissing(f"there is no collection {name}")
            self._require_dimension(found, len(vector))
            self._remember(found)
        self._require_space(found, len(vector), space)
        neighbours = found.nearest(vector, limit=limit, where=where)
        return [
            Match(one.id, one.document, one.metadata, one.distance, score(one.distance, found.distance), name)
            for one in neighbours
        ]

    def _write(self, batch: Batch, should_continue: Callable[[], bool]) -> int:
        collection = self._collection(batch)
        records = batch.deduplicated()
        for part in split_into_batches(records, _size_of, max_size=_MOST_BYTES, max_items=_MOST_RECORDS):
            if not should_continue():
                raise StoreDown("it was given up")
            collection.upsert(_columns(part, _held(collection, part)))
        return len(records)

    def _collection(self, batch: Batch) -> ServerCollection:
        """The batch's collection, made at first use. Raises `SpaceMismatch`."""
        name = batch.collection
        found = self._known(name)
        if found is None:
            found = self._found_or_made(batch)
            self._require_dimension(found, batch.dimension)
            self._mark(found, batch.dimension)
            self._remember(found)
        self._require_space(found, batch.dimension, batch.space)
        return found

    def _found_or_made(self, batch: Batch) -> ServerCollection:
        """Names are of a form that Chroma takes; so what it refuses here (it lacks the database, say) may pass."""
        try:
            return self._find(batch.collection, batch.dimension) or self._server.find_or_create(
                batch.collection,
                metadata=with_space_mark({}, batch.space, batch.dimension),
                configuration=NEW_COLLECTION_CONFIGURATION,
            )
        except StoreRefused as exc:
            raise StoreDown(str(exc)) from exc

    def _known(self, name: str) -> ServerCollection | None:
        """The collection, if it was looked up lately: somebody may delete it, or give its name to another."""
        collection, until = self._collections.get(name, (None, None))
        return collection if until is not None and self._clock.now() < until else None

    def _remember(self, collection: ServerCollection) -> None:
        self._collections[collection.name] = collection, self._clock.now() + _KNOWN_FOR

    def _find(self, name: str, dimension: int) -> ServerCollection | None:
        base_name = name.removesuffix(f"_{dimension}")
        self._adopt(base_name)
        return self._server.find(name)

    def _adopt(self, base_name: str) -> None:
        """Renames the collection that has the base name itself, once: one request where there is none."""
        if base_name in self._adopted:
            return
        try:
            old = self._server.find(base_name)
            dimension = old.dimension if old is not None else None
            target = target_collection_name(base_name, dimension) if dimension else None
            if old is not None and dimension is not None and target is not None:
                with_mark = with_space_mark(old.metadata, space_of(old.metadata, dimension, self._default), dimension)
                old.rename(target, metadata=with_mark)
        except (NameTaken, CollectionMissing, StoreRefused):
            pass  # the migration merges what cannot be renamed, and reports what it cannot read
        self._adopted.add(base_name)

    def _mark(self, collection: ServerCollection, dimension: int) -> None:
        """Records the space of a collection that has no mark yet, where it is known."""
        metadata = collection.metadata
        wanted = with_space_mark(metadata, space_of(metadata, dimension, self._default), dimension)
        if wanted != metadata:
            collection.replace_metadata(wanted)

    def _require_dimension(self, collection: ServerCollection, dimension: int) -> None:
        """Before it is marked: what it holds need not be what its name says."""
        holds = collection.declared_dimension
        if holds not in {None, dimension}:
            message = f"the collection {collection.name} holds vectors of {holds} dimensions, in spite of its name"
            raise SpaceMismatch(f"{message}; migrate-collections gives it another")

    def _require_space(self, collection: ServerCollection, dimension: int, space: str) -> None:
        holds = space_of(collection.metadata, dimension, self._default)
        if holds != space:
            raise SpaceMismatch(
                f"the collection {collection.name} holds vectors of the space {holds or 'that nobody recorded'}, "
                f"not {space}; name another collection, or a model of that space"
            )


def score(distance: float, measure: str) -> float:
    """A figure of which higher is better: the cosine or the inner product, and what falls from 1 with the squared
    distance.
    """
    return 1 / (1 + distance) if measure == "l2" else 1 - distance


def _size_of(record: VectorRecord) -> int:
    return vector_bytes(len(record.vector)) + len(record.document.encode())


def _held(collection: ServerCollection, records: Sequence[VectorRecord]) -> Mapping[str, Mapping[str, Any]]:
    """The metadata that records have already, of those that may say something new: Chroma keeps keys that it is not
    given again. A text that comes again without metadata has nothing new to say.
    """
    new = [one.id for one in records if one.metadata is not None or one.id != content_id(one.document)]
    return collection.metadata_of(new) if new else {}


def _columns(records: Sequence[VectorRecord], held: Mapping[str, Mapping[str, Any]]) -> Records:
    """As they are to be written over those that are `held`."""
    import numpy

    return Records(
        [record.id for record in records],
        numpy.asarray([record.vector for record in records], dtype=numpy.float32),
        [record.document for record in records],
        [metadata_replacing(record.metadata, held.get(record.id)) for record in records],
    )
