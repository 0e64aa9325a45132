"""Collections from a backup's file into a Chroma server.

The file is read through three times: checked before anything is written, written page by page, and compared with what
the server holds then. What the server has already in equal form is not written again, so a restore that was killed is
simply run again. Never more than a page of records is in memory.

A collection that measures by cosine keeps its vectors by direction and length apart, and gives them back rounded anew:
there a vector is equal when it differs by no more than that.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sekha_llm_bridge.embeddings.backup.file import CollectionEnd, CollectionStart, Record, columns, index_of, rows
from sekha_llm_bridge.embeddings.backup.pages import swept
from sekha_llm_bridge.embeddings.backup.reading import Contents, contents, read
from sekha_llm_bridge.embeddings.backup.writing import UnknownCollections
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer, ServerCollection, modifiable
from sekha_llm_bridge.embeddings.spaces import SPACE_KEY
from sekha_llm_bridge.embeddings.store import StoreRefused

_MOST_RECORDS = 250
_PAGE_BYTES = 2_000_000
# Of a vector's length: twice what rounding to float32 three times comes to.
_ROUNDING = 4e-7


@dataclass(frozen=True, slots=True)
class RestoreStep:
    """How far it is: records of a collection, of `total`, and the bytes of their lines.

    `doing` is `writing` or `comparing`.
    """

    doing: str
    collection: str
    records: int
    total: int
    line_bytes: int


Told = Callable[[RestoreStep], None]


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be done with one collection of a file.

    `held` is how many records the server has of it, None where there is no such collection; `refusal` says why nothing
    will be written, else it is None.
    """

    contents: Contents
    held: int | None
    refusal: str | None = None

    @property
    def name(self) -> str:
        """Of the collection, in the file and on the server."""
        return self.contents.start.name


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of one collection.

    `written` of the file's records were missing or differed. Of those that the server holds now, `differing` are
    missing or not as in the file, and `rounded` have a vector that differs in its last bits alone (see above).
    `on_server` is its count now.
    """

    planned: Planned
    written: int = 0
    differing: int = 0
    rounded: int = 0
    on_server: int = 0
    refusal: str | None = None

    @property
    def is_verified(self) -> bool:
        """Whether the server holds every record of the file as it is there, and nothing else where it held nothing."""
        if self.refusal is not None or self.differing:
            return False
        return bool(self.planned.held) or self.on_server == self.planned.contents.end.records


def plan(server: ChromaServer, path: Path, *, names: Sequence[str]) -> list[Planned]:
    """Reads the file through and compares its collections `names` (all, without names) with the server's.

    Writes nothing. Raises `DamagedBackup`, `UnknownCollections`, `StoreFailed`, and `OSError`.
    """
    found = {one.start.name: one for one in contents(path)}
    missing = sorted(set(names) - set(found))
    if missing:
        raise UnknownCollections(
            f"no collection {', '.join(missing)}; the file has {', '.join(sorted(found)) or 'none'}"
        )
    return [_planned(server, one) for name, one in found.items() if not names or name in names]


def restore(server: ChromaServer, path: Path, plans: Sequence[Planned], *, told: Told) -> list[Restored]:
    """Writes the planned collections that are not refused, and compares them with the file afterwards.

    Raises `StoreFailed` when the server fails (run again, it goes on), `DamagedBackup`, and `OSError`.
    """
    results = {one.name: Restored(one, refusal=one.refusal) for one in plans}
    made: dict[str, ServerCollection] = {}
    for one in plans:
        if one.refusal is None:
            try:
                made[one.name] = _made(server, one.contents.start)
            except StoreRefused as exc:
                results[one.name] = replace(results[one.name], refusal=str(exc))
    for page in swept(_pages(path, made)):
        written = _write(made[page.name], page.records)
        results[page.name] = replace(results[page.name], written=results[page.name].written + written)
        told(_step("writing", page, results[page.name]))
    for page in swept(_pages(path, made)):
        results[page.name] = _compared(results[page.name], made[page.name], page.records)
        told(_step("comparing", page, results[page.name]))
    return [replace(one, on_server=made[name].count()) if name in made else one for name, one in results.items()]


def _planned(server: ChromaServer, one: Contents) -> Planned:
    existing = server.find(one.start.name)
    if existing is None:
        return Planned(one, None)
    return Planned(one, existing.count(), _refusal(one.start, existing))


def _refusal(start: CollectionStart, existing: ServerCollection) -> str | None:
    """Why the file's records must not come beside those that are there."""
    dimensions = (start.dimension, existing.dimension)
    if None not in dimensions and dimensions[0] != dimensions[1]:
        return f"the server's vectors have {dimensions[1]} dimensions, the file's {dimensions[0]}"
    spaces = (start.metadata.get(SPACE_KEY), existing.metadata.get(SPACE_KEY))
    if all(spaces) and spaces[0] != spaces[1]:
        return f"the server's vectors are of the space {spaces[1]}, the file's of {spaces[0]}"
    return None


def _made(server: ChromaServer, start: CollectionStart) -> ServerCollection:
    """The collection, made where there is none, with the metadata of the file that it lacks."""
    collection = server.find_or_create(start.name, metadata=start.metadata, configuration=index_of(start.configuration))
    here = modifiable(collection.metadata)
    wanted = {**modifiable(start.metadata), **here}
    if wanted != here:
        collection.describe(wanted)
    return collection


@dataclass(frozen=True, slots=True)
class _Page:
    """Some records of the collection `name`; `seen` and `line_bytes` are of the collection so far, with these."""

    name: str
    records: list[Record]
    seen: int
    line_bytes: int


def _pages(path: Path, wanted: Container[str]) -> Iterator[_Page]:
    """The file's records of the collections `wanted`, in pages of a size that Chroma takes."""
    page: list[Record] = []
    size = 0
    for one in read(path):
        part = one.course.part
        if isinstance(one.line, Record) and part is not None and part.start.name in wanted:
            page.append(one.line)
            size += len(one.line.vector) + len(one.line.document or "")
            if len(page) == _MOST_RECORDS or size >= _PAGE_BYTES:
                yield _Page(part.start.name, page, part.records, part.line_bytes)
                page, size = [], 0
        elif isinstance(one.line, CollectionEnd) and page:
            yield _Page(one.line.name, page, one.line.records, one.course.done[-1].line_bytes)
            page, size = [], 0


def _step(doing: str, page: _Page, result: Restored) -> RestoreStep:
    return RestoreStep(doing, page.name, page.seen, result.planned.contents.end.records, page.line_bytes)


def _write(collection: ServerCollection, page: Sequence[Record]) -> int:
    """Writes those of a page that the server lacks or has otherwise, in the file's order; returns how many."""
    held = _held(collection, page)
    wanted = [_over(row, held.get(row.id)) for row in page if not _is_there(collection, row, held)]
    if wanted:
        collection.upsert(columns(wanted))
    return len(wanted)


def _compared(so_far: Restored, collection: ServerCollection, page: Sequence[Record]) -> Restored:
    """Counts what differs, after one more try to mend it.

    Chroma 1.5 does not delete lists in metadata with their collection, and gives them to the new records that take the
    rows of the old ones: a record just written may have more than it was given, which a second writing takes away.
    """
    _write(collection, page)
    held = _held(collection, page)
    same = [row for row in page if _is_there(collection, row, held)]
    rounded = sum(row.vector != held[row.id].vector for row in same)
    return replace(so_far, differing=so_far.differing + len(page) - len(same), rounded=so_far.rounded + rounded)


def _is_there(collection: ServerCollection, row: Record, held: Mapping[str, Record]) -> bool:
    return row.id in held and is_same(row, held[row.id], rounds=collection.distance == "cosine")


def _held(collection: ServerCollection, page: Sequence[Record]) -> dict[str, Record]:
    """What the server has under the ids of a page, by id."""
    ids = [row.id for row in page]
    return {row.id: row for row in rows(collection.get(ids))} if collection.existing(ids) else {}


def _over(row: Record, held: Record | None) -> Record:
    """The record as it must be written over `held`: Chroma keeps metadata that are not named, and drops those that
    are null.
    """
    if held is None or not held.metadata:
        return row
    return replace(row, metadata={**dict.fromkeys(held.metadata), **(row.metadata or {})})


def is_same(one: Record, other: Record, *, rounds: bool) -> bool:
    """Whether two records of one id are equal; where the server `rounds`, vectors but for that."""
    if one.contents() != other.contents():
        return False
    return one.vector == other.vector or (rounds and _is_rounded(one.vector, other.vector))


def _is_rounded(one: bytes, other: bytes) -> bool:
    """Whether no number differs by more than rounding does, of a vector of that length."""
    import numpy

    if len(one) != len(other):
        return False
    wanted, found = _numbers(one), _numbers(other)
    return bool(numpy.abs(wanted - found).max(initial=0.0) <= _ROUNDING * numpy.linalg.norm(wanted))


def _numbers(vector: bytes) -> Any:
    import numpy

    return numpy.frombuffer(vector, dtype="<f4").astype(numpy.float64)
