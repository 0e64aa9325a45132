"""Ids that come more than once in a collection of a file, as when a record was deleted and written again while the
backup ran. The last of them counts.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sekha_llm_bridge.embeddings.backup.file import Record
from sekha_llm_bridge.embeddings.backup.reading import Contents, Course, Read, read

Lasts = Mapping[str, int]
"""By id, the place of the last record of that id in its collection, the first place being 1."""


def checked(path: Path) -> tuple[list[Contents], dict[str, dict[str, int]]]:
    """The collections of a file that is whole, and of each that repeats ids how often and where: see `Lasts`.

    Eight bytes for each record are in memory. Raises `DamagedBackup` and `OSError`.
    """
    course = Course()
    hashes: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
    for one in read(path):
        course = one.course
        if isinstance(one.line, Record) and course.part is not None:
            hashes[course.part.start.name].append(hash(one.line.id))
    candidates = {name: some for name, numbers in hashes.items() if (some := _twice(numbers))}
    return course.done, _lasts(read(path), candidates) if candidates else {}


def _twice(numbers: "array[int]") -> set[int]:
    """Those that come more than once."""
    import numpy

    in_order = numpy.sort(numpy.frombuffer(numbers, dtype=numpy.int64))
    return set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())


def _lasts(lines: Iterable[Read], candidates: Mapping[str, set[int]]) -> dict[str, dict[str, int]]:
    """The last places of the ids that have one of these hashes, by collection."""
    lasts: dict[str, dict[str, int]] = {name: {} for name in candidates}
    for name, place, id_ in _places(lines):
        if name in candidates and hash(id_) in candidates[name]:
            lasts[name][id_] = place
    return lasts


def _places(lines: Iterable[Read]) -> Iterator[tuple[str, int, str]]:
    for one in lines:
        part = one.course.part
        if isinstance(one.line, Record) and part is not None:
            yield part.start.name, part.records, one.line.id
