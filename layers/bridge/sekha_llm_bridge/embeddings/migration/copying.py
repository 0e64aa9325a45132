"""The records of one collection, brought into another one while both may be written to.

The old collection is read in the order of first writing, which appending does not disturb, and only ids are read of
what the new one has already. What is held at any time is one page of records, and what is read back of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.embeddings.chroma_quirks import is_equal_value, is_equal_vector, metadata_replacing
from sekha_llm_bridge.embeddings.chroma_server import Records, ServerCollection, vector_bytes

_PAGE = 500  # ids
_FIRST_READ, _GROWTH = 32, 4  # whole records at once: more and more, up to a page
_MOST_BYTES = 8_000_000  # of vectors in a page, and of vectors and documents in one write


@dataclass(frozen=True, slots=True)
class Page:
    """What a page came to: how many records there are up to its end, how many of its own were missing and have been
    added.
    """

    until: int
    added: int


class Pass:
    """One pass over a collection, from its first record to the end that it has when the pass gets there.

    `known` is how many records a pass before it has seen; how many of those are missing again is in `again`. Each look
    begins with the last record of the page before. If that has moved, records before it have been deleted, and others
    may have slipped through: the pass is `broken`, and another one is needed. The ids of records whose vectors the
    target spoils are added to `unstorable_ids`; these are not copied, and not missed.
    """

    def __init__(
        self, old: ServerCollection, target: ServerCollection, *, known: int, unstorable_ids: set[str]
    ) -> None:
        self._old = old
        self._target = target
        self._known = known
        self._spoilt = unstorable_ids
        self._is_exact = target.distance != "cosine"
        self._at_once = _FIRST_READ
        self._last: str | None = None
        self.seen = 0
        self.again = 0
        self.broken = False

    def pages(self) -> Iterator[Page]:
        """Copies what is missing, page by page. What ends it is a look that finds nothing more, so whoever acts
        directly afterwards acts on the newest news. Raises `StoreFailed`.
        """
        while ids := self._next_ids():
            added = self._copied(ids)
            self.seen, self._last = self.seen + len(ids), ids[-1]
            yield Page(self.seen, added)

    def _next_ids(self) -> list[str]:
        if self._last is None:
            return self._old.ids(offset=0, limit=_PAGE)
        found = self._old.ids(offset=self.seen - 1, limit=_PAGE + 1)
        self.broken = found[:1] != [self._last]
        return [] if self.broken else found[1:]

    def _copied(self, ids: Sequence[str]) -> int:
        """Adds those that are missing; returns how many."""
        there = self._target.existing_ids(ids)
        missing = [place for place, one in enumerate(ids) if one not in there and one not in self._spoilt]
        self.again += sum(self.seen + place < self._known for place in missing)
        waiting = [ids[place] for place in missing]
        while waiting:
            records = self._old.get(waiting[: self._at_once])
            waiting = waiting[self._at_once :]
            self._at_once = _next_size(self._at_once, records)
            for part in _parts(records):
                self._add(part)
        return len(missing)

    def _add(self, records: Records) -> None:
        """Adds records, and reads them back. What is there in another form then is somebody's newer record, which
        stays; but what Chroma itself has made of ours does not.
        """
        self._target.add(records)
        found = self._target.get(records.ids)
        unlike = frozenset(differing_ids(records, found, exact=self._is_exact))
        if not unlike:
            return
        places = {one: place for place, one in enumerate(found.ids)}
        pairs = [(place, places[one]) for place, one in enumerate(records.ids) if one in unlike and one in places]
        leaked = {place: other for place, other in pairs if _has_leaked(records, place, found, other)}
        if leaked:
            self._target.upsert(_without_leaks(records, found, leaked))
        unstorable_ids = [records.ids[place] for place, other in pairs if _is_spoilt(records, place, found, other)]
        if unstorable_ids:
            self._target.delete(unstorable_ids)
            self._spoilt.update(unstorable_ids)


def _next_size(size: int, records: Records) -> int:
    """How many records to read at once after `size` of them were these: as many as are not too large together."""
    in_all = sum(_size_of(records, place) for place in range(len(records)))
    fitting = _MOST_BYTES * len(records) // in_all if in_all else _PAGE
    return max(1, min(size * _GROWTH, _PAGE, fitting))


def _size_of(records: Records, place: int) -> int:
    return vector_bytes(len(records.vectors[place])) + len((records.documents[place] or "").encode())


def _has_leaked(ours: Records, place: int, found: Records, other: int) -> bool:
    """Whether a record has but got lists into its metadata that nobody gave it: Chroma 1.5 does not delete those with
    their collection, and gives them to the new records that take the places of the old ones.
    """
    wanted, held = ours.metadatas[place] or {}, found.metadatas[other] or {}
    more = [value for key, value in held.items() if key not in wanted]
    same = ours.documents[place] == found.documents[other] and all(
        is_equal_value(held.get(key), wanted[key]) for key in wanted
    )
    return same and bool(more) and all(isinstance(value, list) for value in more)


def _without_leaks(ours: Records, found: Records, leaked: Mapping[int, int]) -> Records:
    """Our records, written so that what is too much goes."""
    records = ours.select(list(leaked))
    metadatas: list[Any] = [
        metadata_replacing(ours.metadatas[place], found.metadatas[other]) for place, other in leaked.items()
    ]
    return replace(records, metadatas=metadatas)


def _is_spoilt(ours: Records, place: int, found: Records, other: int) -> bool:
    """Whether only the vector is another, and no real one any more: a collection that measures by the cosine cannot
    keep those of extreme length.
    """
    import numpy

    same = is_equal_value(_contents(ours, place), _contents(found, other))
    vector = found.vectors[other]
    return same and not (bool(numpy.isfinite(vector).all()) and bool(vector.any()))


def differing_ids(wanted: Records, found: Records, *, exact: bool = True) -> list[str]:
    """The ids of those that `found` does not have, or not with the same vector, document and metadata.

    Vectors are compared bit for bit, unless `exact` is False: then Chroma's rounding passes, see `sameness`.
    """
    places = {one: place for place, one in enumerate(found.ids)}

    def is_same(place: int, other: int) -> bool:
        vectors = wanted.vectors[place], found.vectors[other]
        same_vector = is_equal_vector(*vectors, rounds=not exact)
        return same_vector and is_equal_value(_contents(wanted, place), _contents(found, other))

    return [one for place, one in enumerate(wanted.ids) if one not in places or not is_same(place, places[one])]


def _contents(records: Records, place: int) -> list[object]:
    return [
        records.documents[place],
        dict(records.metadatas[place] or {}),
        records.uris[place] if records.uris else None,
    ]


def _parts(records: Records) -> Iterator[Records]:
    """The records in requests of a size that Chroma takes."""
    places = range(len(records))
    parts = split_into_batches(places, lambda place: _size_of(records, place), max_size=_MOST_BYTES, max_items=_PAGE)
    return map(records.select, parts)
