"""Ids that come more than once in a collection of a file, as when a record was deleted and written again while the
backup ran. The last of them counts.
"""

from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sekha_llm_bridge.embeddings.backup.file_format import Record
from sekha_llm_bridge.embeddings.backup.reading import CollectionSummary, ReadPosition, read_lines


@dataclass(slots=True)
class Repeats:
    """Of one collection: by id the place of the last record of that id, the first place being 1, and how many records
    come before the last of their id. Ids that come once may be missing.
    """

    lasts: dict[str, int] = field(default_factory=dict)
    earlier: int = 0

    def add(self, id_: str, place: int) -> None:
        """Takes a record; they come in order."""
        self.earlier += id_ in self.lasts
        self.lasts[id_] = place

    def is_last(self, id_: str, place: int) -> bool:
        """Whether the record at that place counts."""
        return self.lasts.get(id_, place) == place


def checked(path: Path) -> tuple[list[CollectionSummary], dict[str, Repeats]]:
    """The collections of a file that is whole, and the repeats of those that have any.

    Eight bytes for each record are in memory. Raises `DamagedBackup` and `OSError`.
    """
    course = ReadPosition()
    hashes: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
    for one in read_lines(path):
        course = one.course
        if isinstance(one.line, Record) and course.part is not None:
            hashes[course.part.start.name].append(hash(one.line.id))
    candidates = {name: some for name, numbers in hashes.items() if (some := _twice(numbers))}
    return course.done, _repeats(path, candidates) if candidates else {}


def _twice(numbers: "array[int]") -> set[int]:
    """Those that come more than once."""
    import numpy

    in_order: Any = numpy.sort(numpy.frombuffer(numbers, dtype=numpy.int64))
    return set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())


def _repeats(path: Path, candidates: Mapping[str, set[int]]) -> dict[str, Repeats]:
    """The repeats of the ids that have one of these hashes, by collection."""
    found = {name: Repeats() for name in candidates}
    for one in read_lines(path):
        part = one.course.part
        if isinstance(one.line, Record) and part is not None and part.start.name in candidates:
            name, id_ = part.start.name, one.line.id
            if hash(id_) in candidates[name]:
                found[name].add(id_, part.records)
    return found
