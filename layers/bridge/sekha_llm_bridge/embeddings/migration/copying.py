"""Copies the records of one collection into another while both may be written to.

The old collection is read in the order in which its records were first written; appending does not change that order.
Of records that the target already has, only the ids are read. At most one page of records is in memory, and what is
read back of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.embeddings.chroma_collection import (
    Records,
    ServerCollection,
    differing_ids,
    pairs_by_id,
    vector_bytes,
)

_PAGE = 250  # ids; one more is read with them, and Chroma Cloud returns at most 300
_FIRST_READ, _GROWTH = 32, 4  # records in one request: at first, and the factor for the next, up to a page
_MAX_BYTES = 8_000_000  # of vectors and documents in one request


@dataclass(frozen=True, slots=True)
class CopiedPage:
    """The result of one page: records read so far (this page included), and records of this page that were copied."""

    seen: int
    copied: int


class CopyPass:
    """One pass over the old collection, from its first record to its end.

    `seen_before` is the number of records that an earlier pass has seen; `missing_again` counts those of them that the
    target does not have. Each read starts at the last record of the page before. If that record has moved, records
    before it have been deleted and others may have been skipped: then `has_skipped` is set, and another pass is needed.

    `unstorable_ids` are the ids of records whose vectors the target cannot store. The pass adds to them, and does not
    copy these records.
    """

    def __init__(
        self, old: ServerCollection, target: ServerCollection, *, seen_before: int, unstorable_ids: set[str]
    ) -> None:
        self._old = old
        self._target = target
        self._seen_before = seen_before
        self._unstorable_ids = unstorable_ids
        self._read_size = _FIRST_READ
        self._last_id: str | None = None
        self.seen = 0
        self.missing_again = 0
        self.has_skipped = False

    def pages(self) -> Iterator[CopiedPage]:
        """Copies the missing records, page by page. Its last request finds the old collection's end.

        Raises `StoreFailed`.
        """
        while ids := self._next_ids():
            copied = self._copy_missing(ids)
            self.seen, self._last_id = self.seen + len(ids), ids[-1]
            yield CopiedPage(self.seen, copied)

    def _next_ids(self) -> list[str]:
        if self._last_id is None:
            return self._old.ids(offset=0, limit=_PAGE)
        ids = self._old.ids(offset=self.seen - 1, limit=_PAGE + 1)
        self.has_skipped = ids[:1] != [self._last_id]
        return [] if self.has_skipped else ids[1:]

    def _copy_missing(self, ids: Sequence[str]) -> int:
        """Copies the records that the target does not have. Returns their number."""
        existing = self._target.existing_ids(ids)
        missing = [i for i, id_ in enumerate(ids) if id_ not in existing and id_ not in self._unstorable_ids]
        self.missing_again += sum(self.seen + i < self._seen_before for i in missing)
        remaining = [ids[i] for i in missing]
        while remaining:
            records = self._old.get(remaining[: self._read_size])
            remaining = remaining[self._read_size :]
            sizes = [
                vector_bytes(len(vector)) + len((document or "").encode())
                for vector, document in zip(records.vectors, records.documents, strict=True)
            ]
            fitting = _MAX_BYTES * len(records) // sum(sizes) if sizes else _PAGE
            self._read_size = max(1, min(self._read_size * _GROWTH, _PAGE, fitting))
            for part in split_into_batches(
                range(len(records)), sizes.__getitem__, max_size=_MAX_BYTES, max_items=_PAGE
            ):
                self._add(records.select(part))
        return len(missing)

    def _add(self, records: Records) -> None:
        """Adds records and reads them back.

        If a record differs then, another process has replaced it, and it is left as it is. But what Chroma itself has
        changed is corrected: leaked lists are removed, and records that lost their vector are deleted.
        """
        self._target.add(records)
        stored = self._target.get(records.ids)
        differing = set(differing_ids(records, stored, is_rounded=self._target.rounds_vectors))
        if not differing:
            return
        pairs = [pair for id_, pair in pairs_by_id(records, stored).items() if id_ in differing]
        leaked = [pair.position for pair in pairs if pair.has_lists_of_deleted_records()]
        if leaked:
            self._target.upsert(records.select(leaked).replacing(stored))
        lost = [records.ids[pair.position] for pair in pairs if pair.has_lost_vector()]
        if lost:
            self._target.delete(lost)
            self._unstorable_ids.update(lost)
