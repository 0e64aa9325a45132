"""Collections from a backup's file into a Chroma server.

The file is read through three times: checked before anything is written, written page by page, and compared with what
the server holds then. What the server has already in equal form is not written again, so a restore that was killed is
simply run again. Never more than a page of records is in memory.

The file's record takes the place of one that the server holds under the same id and has otherwise, be it newer or not.
Where the file has an id more than once, the last of them counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sekha_llm_bridge.embeddings.backup.comparing import Compared, compared
from sekha_llm_bridge.embeddings.backup.duplicates import Repeats, checked
from sekha_llm_bridge.embeddings.backup.file_format import (
    CollectionEnd,
    CollectionStart,
    Record,
    index_configuration,
    to_columns,
)
from sekha_llm_bridge.embeddings.backup.pages import collecting_garbage
from sekha_llm_bridge.embeddings.backup.reading import CollectionSummary, read_lines
from sekha_llm_bridge.embeddings.backup.writing import UnknownCollections
from sekha_llm_bridge.embeddings.chroma_server import DISTANCE_KEY, ChromaServer, ServerCollection
from sekha_llm_bridge.embeddings.spaces import SPACE_KEY
from sekha_llm_bridge.embeddings.store import StoreRefused

_MOST_RECORDS = 250
_PAGE_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far it is: records of a collection, of `total`, and the bytes of their lines.

    `phase` is `writing` or `comparing`.
    """

    phase: str
    collection: str
    records: int
    total: int
    line_bytes: int


ProgressCallback = Callable[[RestoreProgress], None]


@dataclass(frozen=True, slots=True)
class PlannedRestore:
    """What is to be done with one collection of a file.

    `held` is how many records the server has of it, None where there is no such collection; `refusal` says why nothing
    will be written, else it is None.
    """

    contents: CollectionSummary
    existing_records: int | None
    refusal: str | None = None
    repeats: Repeats = field(default_factory=Repeats)

    @property
    def name(self) -> str:
        """Of the collection, in the file and on the server."""
        return self.contents.start.name

    @property
    def records(self) -> int:
        """How many the server shall hold of the file: as many as there are ids."""
        return self.contents.end.records - self.repeats.earlier


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What became of one collection.

    `written` of the file's records were missing or differed, and `replaced` of these took the place of another record
    of their id. Of those that the server holds now, `differing` are missing or not as in the file, and `rounded` have
    a vector that differs in its last bits alone. `on_server` is its count now.
    """

    planned: PlannedRestore
    written: int = 0
    replaced: int = 0
    differing: int = 0
    rounded: int = 0
    on_server: int = 0
    refusal: str | None = None

    @property
    def is_verified(self) -> bool:
        """Whether the server holds every record of the file as it is there, and nothing else where it held nothing."""
        if self.refusal is not None or self.differing:
            return False
        return bool(self.planned.existing_records) or self.on_server == self.planned.records


def plan(server: ChromaServer, path: Path, *, names: Sequence[str]) -> list[PlannedRestore]:
    """Reads the file through and compares its collections `names` (all, without names) with the server's.

    Writes nothing. Raises `DamagedBackup`, `UnknownCollections`, `StoreFailed`, and `OSError`.
    """
    collections, repeats = checked(path)
    found = {one.start.name: one for one in collections}
    missing = sorted(set(names) - set(found))
    if missing:
        raise UnknownCollections(
            f"no collection {', '.join(missing)}; the file has {', '.join(sorted(found)) or 'none'}"
        )
    return [
        replace(_planned(server, one), repeats=repeats.get(name, Repeats()))
        for name, one in found.items()
        if not names or name in names
    ]


def count_replacements(server: ChromaServer, path: Path, plans: Sequence[PlannedRestore]) -> dict[str, int]:
    """By collection, how many records of the server would give way to other ones of the same id. Writes nothing.

    Raises `DamagedBackup`, `StoreFailed`, and `OSError`.
    """
    wanted = {one.name: one for one in plans if one.existing_records and one.refusal is None}
    there = {name: found for name in wanted if (found := server.find(name))}
    counts = dict.fromkeys((one.name for one in plans), 0)
    for page in collecting_garbage(_pages(path, {name: wanted[name] for name in there})):
        counts[page.name] += compared(page.records, there[page.name]).replaced()
    return counts


def restore(
    server: ChromaServer, path: Path, plans: Sequence[PlannedRestore], *, on_progress: ProgressCallback
) -> list[RestoreResult]:
    """Writes the planned collections that are not refused, and compares them with the file afterwards.

    Raises `StoreFailed` when the server fails (run again, it goes on), `DamagedBackup`, and `OSError`.
    """
    results = {one.name: RestoreResult(one, refusal=one.refusal) for one in plans}
    made: dict[str, ServerCollection] = {}
    for one in plans:
        if one.refusal is None:
            try:
                made[one.name] = _made(server, one.contents.start)
            except StoreRefused as exc:
                results[one.name] = replace(results[one.name], refusal=str(exc))
    wanted = {one.name: one for one in plans if one.name in made}
    for page in collecting_garbage(_pages(path, wanted)):
        results[page.name] = _written(results[page.name], made[page.name], page.records)
        on_progress(_step("writing", page, results[page.name]))
    for page in collecting_garbage(_pages(path, wanted)):
        results[page.name] = _verified(results[page.name], made[page.name], page.records)
        on_progress(_step("comparing", page, results[page.name]))
    return [replace(one, on_server=made[name].count()) if name in made else one for name, one in results.items()]


def _planned(server: ChromaServer, one: CollectionSummary) -> PlannedRestore:
    existing = server.find(one.start.name)
    if existing is None:
        return PlannedRestore(one, None)
    held = existing.count()
    return PlannedRestore(one, held, _refusal(one.start, existing, held))


def _refusal(start: CollectionStart, existing: ServerCollection, held: int) -> str | None:
    """Why the file's records must not come beside those that are there."""
    dimensions = (start.dimension, existing.dimension)
    if None not in dimensions and dimensions[0] != dimensions[1]:
        return f"the server's vectors have {dimensions[1]} dimensions, the file's {dimensions[0]}"
    return _space_refusal(start.metadata.get(SPACE_KEY), existing.metadata.get(SPACE_KEY), held=held)


def _space_refusal(wanted: object, found: object, *, held: int) -> str | None:
    """Why vectors of the space `wanted` must not come beside `held` ones of the space `found`; None: nobody knows."""
    if wanted and found and wanted != found:
        return f"the server's vectors are of the space {found}, the file's of {wanted}"
    if wanted and not found and held:
        return f"the file's vectors are of the space {wanted}, and nothing says of which the {held:,} on the server are"
    return None


def _made(server: ChromaServer, start: CollectionStart) -> ServerCollection:
    """The collection, made where there is none, with the metadata of the file that it lacks.

    How it measures is settled when it is made: what the file's metadata say of that is nothing to tell it afterwards.
    """
    collection = server.find_or_create(
        start.name, metadata=start.metadata, configuration=index_configuration(start.configuration)
    )
    more = {key: value for key, value in start.metadata.items() if not _is_of_the_index(key)}
    if not more.keys() <= collection.metadata.keys():
        collection.replace_metadata({**more, **collection.metadata})
    return collection


def _is_of_the_index(key: str) -> bool:
    return key == DISTANCE_KEY or key.startswith("hnsw:")


@dataclass(frozen=True, slots=True)
class _Page:
    """Some records of the collection `name`; `seen` and `line_bytes` are of the collection so far, with these."""

    name: str
    records: list[Record]
    seen: int
    line_bytes: int


def _pages(path: Path, wanted: Mapping[str, PlannedRestore]) -> Iterator[_Page]:
    """The file's records of the collections `wanted`, in pages of a size that Chroma takes, each id once."""
    page: list[Record] = []
    size = 0
    for one in read_lines(path):
        part = one.course.part
        if isinstance(one.line, Record) and part is not None and part.start.name in wanted:
            if not wanted[part.start.name].repeats.is_last(one.line.id, part.records):
                continue
            page.append(one.line)
            size += len(one.line.vector) + len(one.line.document or "")
            if len(page) == _MOST_RECORDS or size >= _PAGE_BYTES:
                yield _Page(part.start.name, page, part.records, part.line_bytes)
                page, size = [], 0
        elif isinstance(one.line, CollectionEnd) and page:
            yield _Page(one.line.name, page, one.line.records, one.course.done[-1].line_bytes)
            page, size = [], 0


def _step(phase: str, page: _Page, result: RestoreResult) -> RestoreProgress:
    return RestoreProgress(phase, page.name, page.seen, result.planned.contents.end.records, page.line_bytes)


def _written(so_far: RestoreResult, collection: ServerCollection, page: Sequence[Record]) -> RestoreResult:
    """Writes those of a page that the server lacks or has otherwise, and counts them."""
    beside = compared(page, collection)
    written = _write(collection, beside)
    return replace(so_far, written=so_far.written + written, replaced=so_far.replaced + beside.replaced())


def _write(collection: ServerCollection, beside: Compared) -> int:
    wanted = beside.to_write()
    if wanted:
        collection.upsert(to_columns(wanted))
    return len(wanted)


def _verified(so_far: RestoreResult, collection: ServerCollection, page: Sequence[Record]) -> RestoreResult:
    """Counts what differs, after one more try to mend it.

    Chroma 1.5 does not delete lists in metadata with their collection, and gives them to the new records that take the
    rows of the old ones: a record just written may have more than it was given, which a second writing takes away.
    """
    beside = compared(page, collection)
    if _write(collection, beside):
        beside = compared(page, collection)
    differing, rounded = len(beside.others()), beside.rounded()
    return replace(so_far, differing=so_far.differing + differing, rounded=so_far.rounded + rounded)
