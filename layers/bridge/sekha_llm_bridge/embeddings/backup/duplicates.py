"""Finds ids that a collection of a backup file has more than once. The last record of an id is the valid one.

An id is repeated if its record was deleted and written again while the backup ran.
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
class Duplicates:
    """The repeated ids of one collection. Ids that occur once may be missing.

    `last_numbers` has, for each id, the number of its last record (the collection's first record is 1). `superseded` is
    the number of records that are not the last of their id.
    """

    last_numbers: dict[str, int] = field(default_factory=dict)
    superseded: int = 0

    def add(self, id_: str, number: int) -> None:
        """Adds a record. Records must be added in the file's order."""
        self.superseded += id_ in self.last_numbers
        self.last_numbers[id_] = number

    def is_last(self, id_: str, number: int) -> bool:
        """Returns whether the record with that number is the last of its id."""
        return self.last_numbers.get(id_, number) == number


def check_file(path: Path) -> tuple[list[CollectionSummary], dict[str, Duplicates]]:
    """Checks the whole file. Returns its collections, and the duplicates of those that have any.

    Keeps 8 bytes for each record in memory. Raises `DamagedBackup` and `OSError`.
    """
    position = ReadPosition()
    hashes: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
    for one in read_lines(path):
        position = one.position
        if isinstance(one.line, Record) and position.open_collection is not None:
            hashes[position.open_collection.start.name].append(hash(one.line.id))
    candidates = {name: some for name, numbers in hashes.items() if (some := _repeated(numbers))}
    return position.finished, _duplicates(path, candidates) if candidates else {}


def _repeated(numbers: "array[int]") -> set[int]:
    """Returns the numbers that occur more than once."""
    import numpy

    in_order: Any = numpy.sort(numpy.frombuffer(numbers, dtype=numpy.int64))
    return set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())


def _duplicates(path: Path, candidates: Mapping[str, set[int]]) -> dict[str, Duplicates]:
    """Returns the duplicates among the ids that have one of these hashes, by collection."""
    found = {name: Duplicates() for name in candidates}
    for one in read_lines(path):
        part = one.position.open_collection
        if isinstance(one.line, Record) and part is not None and part.start.name in candidates:
            name, id_ = part.start.name, one.line.id
            if hash(id_) in candidates[name]:
                found[name].add(id_, part.records)
    return found
