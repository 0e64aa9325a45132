"""One collection of a Chroma server, and its records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from sekha_llm_bridge.embeddings.chroma_quirks import (
    Metadata,
    distance_of,
    has_lists_of_deleted_records,
    is_equal_value,
    is_equal_vector,
    metadata_replacing,
    modifiable_metadata,
    translate_errors,
)
from sekha_llm_bridge.embeddings.store import StoreError

_ALL_FIELDS = ["embeddings", "documents", "metadatas", "uris"]


@dataclass(frozen=True, slots=True)
class Records:
    """Some records of a collection as columns, in the collection's order.

    `vectors` is a NumPy array of float32 of the shape (n_records, dimension). `uris` is None if no record has one.
    """

    ids: list[str]
    vectors: Any
    documents: list[str | None]
    metadatas: list[Metadata | None]
    uris: list[str | None] | None = None

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.ids)

    def select(self, positions: Sequence[int]) -> "Records":
        """Returns the records at these positions."""
        uris = [self.uris[i] for i in positions] if self.uris else []
        return Records(
            [self.ids[i] for i in positions],
            self.vectors[list(positions)],
            [self.documents[i] for i in positions],
            [self.metadatas[i] for i in positions],
            uris if any(uris) else None,
        )

    def replacing(self, stored: "Records") -> "Records":
        """Returns the records as they must be written so that nothing stays of the `stored` ones with the same ids."""
        stored_metadatas = dict(zip(stored.ids, stored.metadatas, strict=True))
        metadatas: list[Metadata | None] = [
            metadata_replacing(metadata, stored_metadatas[id_]) if id_ in stored_metadatas else metadata
            for id_, metadata in zip(self.ids, self.metadatas, strict=True)
        ]
        return replace(self, metadatas=metadatas)


class Pair(NamedTuple):
    """The record at `position` of `written`, and the record of the same id at `stored_position` of `stored`."""

    written: Records
    position: int
    stored: Records
    stored_position: int

    def is_equal(self, *, is_rounded: bool) -> bool:
        """Returns whether the records are equal; if `is_rounded`, vectors may differ by Chroma's rounding."""
        return self._has_equal_vector(is_rounded=is_rounded) and self._has_equal_contents()

    def is_rounded(self) -> bool:
        """Returns whether the vectors differ in any bit."""
        return not self._has_equal_vector(is_rounded=False)

    def has_lists_of_deleted_records(self) -> bool:
        """Returns whether the stored record is the written one, with lists in its metadata that were not written."""
        has_equal_document = self.written.documents[self.position] == self.stored.documents[self.stored_position]
        metadatas = self.written.metadatas[self.position], self.stored.metadatas[self.stored_position]
        return has_equal_document and has_lists_of_deleted_records(*metadatas)

    def has_lost_vector(self) -> bool:
        """Returns whether the stored record is the written one, with a vector of zeros or of numbers not finite.

        That is what a collection that measures by cosine makes of vectors of extreme length.
        """
        import numpy

        vector = self.stored.vectors[self.stored_position]
        return self._has_equal_contents() and not (bool(numpy.isfinite(vector).all()) and bool(vector.any()))

    def _has_equal_vector(self, *, is_rounded: bool) -> bool:
        vectors = self.written.vectors[self.position], self.stored.vectors[self.stored_position]
        return is_equal_vector(*vectors, is_rounded=is_rounded)

    def _has_equal_contents(self) -> bool:
        return is_equal_value(_contents(self.written, self.position), _contents(self.stored, self.stored_position))


def pairs_by_id(written: Records, stored: Records) -> dict[str, Pair]:
    """Returns a pair for each record of `written` whose id is in `stored`, by id, in the order of `written`."""
    positions = {id_: position for position, id_ in enumerate(stored.ids)}
    return {
        id_: Pair(written, position, stored, positions[id_])
        for position, id_ in enumerate(written.ids)
        if id_ in positions
    }


def differing_ids(written: Records, stored: Records, *, is_rounded: bool = False) -> list[str]:
    """Returns the ids of the `written` records that are not in `stored`, or not equal there.

    If `is_rounded`, vectors may differ by Chroma's rounding.
    """
    pairs = pairs_by_id(written, stored)
    return [id_ for id_ in written.ids if id_ not in pairs or not pairs[id_].is_equal(is_rounded=is_rounded)]


def _contents(records: Records, position: int) -> list[object]:
    """Everything but the vector. Chroma does not distinguish `{}` from no metadata, nor an empty URI from none."""
    uri = records.uris[position] if records.uris else None
    return [records.documents[position], dict(records.metadatas[position] or {}), uri or None]


class Neighbour(NamedTuple):
    """A record near a vector, and its distance by the collection's own measure."""

    id: str
    document: str | None
    metadata: Metadata | None
    distance: float


class ServerCollection:
    """One collection of a server. It is identified by its id, so it stays the same collection when it is renamed.

    Every method raises `StoreDown` or `StoreRefused`, and `CollectionMissing` if the collection has been deleted.
    """

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    @property
    def id(self) -> str:
        """The server's id of the collection."""
        return str(self._collection.id)

    @property
    def name(self) -> str:
        """Its name when it was last looked up or changed by this object."""
        return str(self._collection.name)

    @property
    def metadata(self) -> dict[str, Any]:
        """Its metadata when it was last looked up or changed by this object."""
        return dict(self._collection.metadata or {})

    @property
    def configuration(self) -> dict[str, Any]:
        """Chroma's configuration of its index, as JSON."""
        return dict(self._collection.configuration_json)

    @property
    def distance(self) -> str:
        """Its distance measure: `cosine`, `l2` (squared) or `ip`."""
        return distance_of(self.metadata, self.configuration)

    @property
    def rounds_vectors(self) -> bool:
        """Whether it may return vectors that differ from the written ones by a rounding error."""
        return self.distance == "cosine"

    @property
    def declared_dimension(self) -> int | None:
        """The dimension that the server gave when it was last looked up; None if it held no records."""
        model = getattr(self._collection, "_model", None)
        return getattr(model, "dimension", None)

    @cached_property
    def dimension(self) -> int | None:
        """The dimension of its first vector; None if it holds no records."""
        first = self.page(offset=0, limit=1)
        return first.vectors.shape[1] if len(first) else None

    def count(self) -> int:
        """Returns the number of records."""
        with translate_errors("count"):
            return int(self._collection.count())

    def ids(self, *, offset: int, limit: int) -> list[str]:
        """Returns ids in the collection's order, which is the order in which they were first written."""
        with translate_errors("list ids"):
            return list(self._collection.get(offset=offset, limit=limit, include=[])["ids"])

    def page(self, *, offset: int, limit: int) -> Records:
        """Returns records in the same order."""
        return self._read(offset=offset, limit=limit)

    def get(self, ids: Sequence[str]) -> Records:
        """Returns the records with these ids that exist, in the collection's order."""
        return self._read(ids=list(ids))

    def metadata_of(self, ids: Sequence[str]) -> dict[str, Metadata]:
        """Returns the metadata of the records with these ids that exist and have any."""
        with translate_errors("read"):
            found = self._collection.get(ids=list(ids), include=["metadatas"])
        return {one: metadata for one, metadata in zip(found["ids"], found["metadatas"], strict=True) if metadata}

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Returns which of these ids the collection holds."""
        with translate_errors("look up ids"):
            return set(self._collection.get(ids=list(ids), include=[])["ids"])

    def add(self, records: Records) -> None:
        """Writes the records whose ids it does not hold; leaves existing records as they are."""
        self._write(self._collection.add, records)

    def upsert(self, records: Records) -> None:
        """Writes records; replaces existing ones with the same ids, but for metadata: see `metadata_replacing`."""
        self._write(self._collection.upsert, records)

    def rename(self, name: str, *, metadata: Metadata | None = None) -> None:
        """Changes its name, and its metadata if given, in one request. Raises `NameTaken`."""
        changed = modifiable_metadata(metadata or {})
        with translate_errors("rename"):
            self._collection.modify(name=name, **({"metadata": changed} if changed else {}))

    def replace_metadata(self, metadata: Metadata) -> None:
        """Replaces its metadata. Empty metadata are ignored: Chroma does not accept them."""
        if changed := modifiable_metadata(metadata):
            with translate_errors("change metadata"):
                self._collection.modify(metadata=changed)

    def delete(self, ids: Sequence[str]) -> None:
        """Deletes the records with these ids."""
        with translate_errors("delete records"):
            self._collection.delete(ids=list(ids))

    def nearest(self, vector: Sequence[float], *, limit: int, where: Metadata | None) -> list[Neighbour]:
        """Returns the records nearest to `vector`, the nearest first."""
        try:
            with translate_errors("search"):
                found = self._collection.query(query_embeddings=[vector], n_results=limit, where=where)
        except StoreError:
            if self.ids(offset=0, limit=1):
                raise
            return []
        columns = (found[name][0] for name in ("ids", "documents", "metadatas", "distances"))
        return [Neighbour(*row) for row in zip(*columns, strict=True)]

    def _read(self, **selection: Any) -> Records:
        try:
            with translate_errors("read"):
                return _records(self._collection.get(**selection, include=_ALL_FIELDS))
        except StoreError:
            with translate_errors("read"):
                if self._collection.get(**selection, include=[])["ids"]:
                    raise
            return _records({"ids": [], "documents": [], "metadatas": []})

    def _write(self, write: Any, records: Records) -> None:
        with translate_errors("write"):
            write(
                ids=records.ids,
                embeddings=records.vectors,
                documents=records.documents if any(text is not None for text in records.documents) else None,
                metadatas=[dict(one) if one else None for one in records.metadatas],
                uris=records.uris,
            )


def vector_bytes(dimension: int) -> int:
    """Returns the size of a vector in a request, a little rounded up: float32 in base64."""
    return 6 * dimension


def _records(found: Mapping[str, Any]) -> Records:
    import numpy

    ids = list(found["ids"])
    uris = found.get("uris")
    vectors = numpy.asarray(found["embeddings"] if ids else [[]], dtype=numpy.float32)
    return Records(
        ids,
        vectors.reshape(len(ids), -1) if ids else vectors[:0],
        list(found["documents"]),
        list(found["metadatas"]),
        list(uris) if uris and any(uris) else None,
    )
