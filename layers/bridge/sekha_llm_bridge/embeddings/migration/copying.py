"""The records of one collection, brought into another one while both may be written to.

The old collection is read in the order of first writing, which appending does not disturb, and only ids are read of
what the new one has already. What is held at any time is one page of records, and what is read back of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from sekha_llm_bridge.embeddings.chroma_server import Records, ServerCollection

_MOST_RECORDS = 500  # in a page
_MOST_BYTES = 8_000_000  # of vectors in a page, and of vectors and documents in one write
_BYTES_PER_NUMBER = 6  # float32 in base64
_LAST_BITS = 1e-15  # of a number, relative to it
_ROUNDED = 1e-6  # of a float32, relative to it: some units in the last place


@dataclass(frozen=True, slots=True)
class Page:
    """What a page came to: how many records there are up to its end, how many of its own were missing and have been
    added, and how many of those were not the same when they were read back.
    """

    until: int
    added: int
    differing: int


class Pass:
    """One pass over a collection, from its first record to the end that it has when the pass gets there.

    `known` is how many records a pass before it has seen; how many of those are missing again is in `again`. Each look
    begins with the last record of the page before. If that has moved, records before it have been deleted, and others
    may have slipped through: the pass is `broken`, and another one is needed.
    """

    def __init__(self, old: ServerCollection, target: ServerCollection, *, known: int) -> None:
        self._old = old
        self._target = target
        self._known = known
        self._is_exact = target.distance != "cosine"
        self._size = max(1, min(_MOST_RECORDS, _MOST_BYTES // (_BYTES_PER_NUMBER * (old.dimension or 1))))
        self._last: str | None = None
        self.seen = 0
        self.again = 0
        self.broken = False

    def pages(self) -> Iterator[Page]:
        """Copies what is missing, page by page. What ends it is a look that finds nothing more, so whoever acts
        directly afterwards acts on the newest news. Raises `StoreFailed`.
        """
        while ids := self._next_ids():
            page = self._copied(ids)
            self.seen, self._last = page.until, ids[-1]
            yield page

    def _next_ids(self) -> list[str]:
        if self._last is None:
            return self._old.ids(offset=0, limit=self._size)
        found = self._old.ids(offset=self.seen - 1, limit=self._size + 1)
        self.broken = found[:1] != [self._last]
        return [] if self.broken else found[1:]

    def _copied(self, ids: Sequence[str]) -> Page:
        there = self._target.existing(ids)
        missing = [place for place, one in enumerate(ids) if one not in there]
        self.again += sum(self.seen + place < self._known for place in missing)
        records = self._old.get([ids[place] for place in missing]) if missing else None
        differing = sum(map(self._add, _parts(records))) if records else 0
        return Page(self.seen + len(ids), len(missing), differing)

    def _add(self, records: Records) -> int:
        """Adds records and reads them back; returns how many are not the same, or not there."""
        self._target.add(records)
        return len(differing(records, self._target.get(records.ids), exact=self._is_exact))


def differing(wanted: Records, found: Records, *, exact: bool = True) -> list[str]:
    """The ids of those that `found` does not have, or not with the same vector, document and metadata.

    Vectors are compared bit for bit, unless `exact` is False: where it measures by the cosine, Chroma 1.5.9 keeps
    vectors of length 1 beside their length, and gives back what that comes to. Numbers in metadata may always differ in
    the last bit, because it does not read decimals quite exactly.
    """
    places = {one: place for place, one in enumerate(found.ids)}

    def is_same(place: int, other: int) -> bool:
        vectors = wanted.vectors[place], found.vectors[other]
        same_vector = vectors[0].tobytes() == vectors[1].tobytes() or (not exact and _is_near(*vectors))
        return same_vector and _is_same(_contents(wanted, place), _contents(found, other))

    return [one for place, one in enumerate(wanted.ids) if one not in places or not is_same(place, places[one])]


def _is_near(one: Any, other: Any) -> bool:
    """Whether two vectors are the same but for the rounding of float32."""
    import numpy

    return bool(numpy.allclose(one, other, rtol=_ROUNDED, atol=_ROUNDED * float(numpy.abs(one).max()) / len(one)))


def _contents(records: Records, place: int) -> list[object]:
    return [
        records.documents[place],
        dict(records.metadatas[place] or {}),
        records.uris[place] if records.uris else None,
    ]


def _is_same(one: object, other: object) -> bool:
    match one, other:
        case float(), float():
            return isclose(one, other, rel_tol=_LAST_BITS)
        case list(), list():
            return len(one) == len(other) and all(map(_is_same, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    return one == other


def _parts(records: Records) -> Iterator[Records]:
    """The records in requests of a size that Chroma takes."""
    part: list[int] = []
    size = 0
    for place, document in enumerate(records.documents):
        more = _BYTES_PER_NUMBER * len(records.vectors[place]) + len((document or "").encode())
        if part and size + more > _MOST_BYTES:
            yield records.only(part)
            part, size = [], 0
        part.append(place)
        size += more
    if part:
        yield records.only(part)
