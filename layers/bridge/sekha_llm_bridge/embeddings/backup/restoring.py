"""Restores collections from a backup file to a Chroma server.

The file is read three times: it is checked before anything is written, then written page by page, then compared with
the server. Records that the server already has in equal form are not written again, so a restore that was killed is
simply run again. At most one page of records is in memory.

A record of the file replaces a different one with the same id on the server, even if that one is newer. If the file has
an id more than once, its last record is restored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sekha_llm_bridge.embeddings.backup.duplicates import Duplicates, check_file
from sekha_llm_bridge.embeddings.backup.file_format import (
    CollectionEnd,
    CollectionStart,
    Record,
    index_configuration,
    to_columns,
)
from sekha_llm_bridge.embeddings.backup.memory import with_garbage_collection
from sekha_llm_bridge.embeddings.backup.reading import CollectionSummary, read_lines
from sekha_llm_bridge.embeddings.backup.writing import UnknownCollections
from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection, differing_ids, pairs_by_id
from sekha_llm_bridge.embeddings.chroma_quirks import without_index_settings
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.spaces import SPACE_KEY
from sekha_llm_bridge.embeddings.store import StoreRefused

_MAX_PAGE_RECORDS = 250
_PAGE_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How many of a collection's `total` records are done, and the size of their lines.

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
    """What will be done with one collection of a file.

    `existing_records` is the number of records in the server's collection, None if there is none. `refusal` says why
    nothing will be written; else it is None.
    """

    contents: CollectionSummary
    existing_records: int | None
    refusal: str | None = None
    duplicates: Duplicates = field(default_factory=Duplicates)

    @property
    def name(self) -> str:
        """The collection's name, in the file and on the server."""
        return self.contents.start.name

    @property
    def records(self) -> int:
        """The number of records to restore: the number of different ids."""
        return self.contents.end.records - self.duplicates.superseded


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of restoring one collection, in records of the file, but for `on_server`.

    `written` were missing or different on the server; `replaced` of them replaced a record with the same id. Afterwards
    `differing` were still missing or different, and `rounded` differed only by the rounding of their vector.
    `on_server` is the number of records in the server's collection.
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
        """Whether the server has every record of the file, and no others if the collection was empty before."""
        if self.refusal is not None or self.differing:
            return False
        return bool(self.planned.existing_records) or self.on_server == self.planned.records


def plan(server: ChromaServer, path: Path, *, names: Sequence[str]) -> list[PlannedRestore]:
    """Reads the whole file and compares the collections `names` (all if empty) with the server's. Writes nothing.

    Raises `DamagedBackup`, `UnknownCollections`, `StoreFailed`, and `OSError`.
    """
    collections, duplicates = check_file(path)
    found = {one.start.name: one for one in collections}
    missing = sorted(set(names) - set(found))
    if missing:
        raise UnknownCollections(
            f"no collection {', '.join(missing)}; the file has {', '.join(sorted(found)) or 'none'}"
        )
    plans = []
    for name, contents in found.items():
        if not names or name in names:
            existing = server.find(name)
            count = existing.count() if existing is not None else None
            refusal = _refusal(contents.start, existing, count or 0) if existing is not None else None
            plans.append(PlannedRestore(contents, count, refusal, duplicates.get(name, Duplicates())))
    return plans


def count_replacements(server: ChromaServer, path: Path, plans: Sequence[PlannedRestore]) -> dict[str, int]:
    """Returns, by collection, how many records of the server the restore would replace. Writes nothing.

    Raises `DamagedBackup`, `StoreFailed`, and `OSError`.
    """
    wanted = {one.name: one for one in plans if one.existing_records and one.refusal is None}
    existing = {name: found for name in wanted if (found := server.find(name))}
    counts = dict.fromkeys((one.name for one in plans), 0)
    for page in with_garbage_collection(_pages(path, {name: wanted[name] for name in existing})):
        counts[page.name] += _compare(page.records, existing[page.name]).count_replaced()
    return counts


def restore(
    server: ChromaServer, path: Path, plans: Sequence[PlannedRestore], *, on_progress: ProgressCallback
) -> list[RestoreResult]:
    """Writes the planned collections that are not refused, then compares them with the file.

    Raises `StoreFailed` if the server fails (a second run continues), `DamagedBackup`, and `OSError`.
    """
    results = {one.name: RestoreResult(one, refusal=one.refusal) for one in plans}
    targets: dict[str, ServerCollection] = {}
    for one in plans:
        if one.refusal is None:
            try:
                targets[one.name] = _find_or_create(server, one.contents.start)
            except StoreRefused as exc:
                results[one.name] = replace(results[one.name], refusal=str(exc))
    wanted = {one.name: one for one in plans if one.name in targets}
    for phase, process in (("writing", _write_page), ("comparing", _verify_page)):
        for page in with_garbage_collection(_pages(path, wanted)):
            result = process(results[page.name], targets[page.name], page.records)
            results[page.name] = result
            total = result.planned.contents.end.records
            on_progress(RestoreProgress(phase, page.name, page.records_so_far, total, page.line_bytes))
    return [replace(one, on_server=targets[name].count()) if name in targets else one for name, one in results.items()]


def _refusal(start: CollectionStart, existing: ServerCollection, existing_records: int) -> str | None:
    """Returns why the file's records must not be added to the existing ones; None if they may."""
    if start.dimension is not None and existing.dimension not in {None, start.dimension}:
        return f"the server's vectors have {existing.dimension} dimensions, the file's {start.dimension}"
    wanted, found = start.metadata.get(SPACE_KEY), existing.metadata.get(SPACE_KEY)
    if wanted and found and wanted != found:
        return f"the server's vectors are of the space {found}, the file's of {wanted}"
    if wanted and not found and existing_records:
        return (
            f"the file's vectors are of the space {wanted}, "
            f"and the space of the {existing_records:,} on the server is unknown"
        )
    return None


def _find_or_create(server: ChromaServer, start: CollectionStart) -> ServerCollection:
    """Returns the collection; creates it if there is none. Adds the metadata of the file that it does not have."""
    collection = server.find_or_create(
        start.name, metadata=start.metadata, configuration=index_configuration(start.configuration)
    )
    more = without_index_settings(start.metadata)
    if not more.keys() <= collection.metadata.keys():
        collection.replace_metadata({**more, **collection.metadata})
    return collection


@dataclass(frozen=True, slots=True)
class _Page:
    """Some records of the collection `name`. `records_so_far` and `line_bytes` count from the collection's start."""

    name: str
    records: list[Record]
    records_so_far: int
    line_bytes: int


def _pages(path: Path, wanted: Mapping[str, PlannedRestore]) -> Iterator[_Page]:
    """Returns the file's records of the collections `wanted`, each id once, in pages that fit into a request."""
    page: list[Record] = []
    size = 0
    for one in read_lines(path):
        part = one.position.open_collection
        if isinstance(one.line, Record) and part is not None and part.start.name in wanted:
            if not wanted[part.start.name].duplicates.is_last(one.line.id, part.records):
                continue
            page.append(one.line)
            size += len(one.line.vector) + len(one.line.document or "")
            if len(page) == _MAX_PAGE_RECORDS or size >= _PAGE_BYTES:
                yield _Page(part.start.name, page, part.records, part.line_bytes)
                page, size = [], 0
        elif isinstance(one.line, CollectionEnd) and page:
            yield _Page(one.line.name, page, one.line.records, one.position.finished[-1].line_bytes)
            page, size = [], 0


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The records of a page (`wanted`), and what the server has stored under their ids.

    `differing` are the ids of the wanted records that are missing or different on the server.
    """

    wanted: Records
    stored: Records
    differing: list[str]

    def count_replaced(self) -> int:
        """Returns how many of the differing records exist on the server."""
        return len(set(self.stored.ids) & set(self.differing))

    def count_rounded(self) -> int:
        """Returns how many records differ only by the rounding of their vector."""
        pairs, differing = pairs_by_id(self.wanted, self.stored), set(self.differing)
        return sum(pair.is_rounded() for id_, pair in pairs.items() if id_ not in differing)


def _compare(page: Sequence[Record], collection: ServerCollection) -> _Comparison:
    """Compares a page with what the server has now. Raises `StoreFailed`."""
    wanted = to_columns(page)
    stored = collection.get(wanted.ids) if collection.existing_ids(wanted.ids) else wanted.select([])
    differing = differing_ids(wanted, stored, is_rounded=collection.rounds_vectors)
    return _Comparison(wanted, stored, differing)


def _write_differing(collection: ServerCollection, found: _Comparison) -> int:
    """Writes the differing records, in place of what the server has stored. Returns their number."""
    differing = set(found.differing)
    if differing:
        positions = [i for i, id_ in enumerate(found.wanted.ids) if id_ in differing]
        collection.upsert(found.wanted.select(positions).replacing(found.stored))
    return len(differing)


def _write_page(result: RestoreResult, collection: ServerCollection, page: Sequence[Record]) -> RestoreResult:
    """Writes the records of a page that are missing or different on the server."""
    found = _compare(page, collection)
    written = _write_differing(collection, found)
    return replace(result, written=result.written + written, replaced=result.replaced + found.count_replaced())


def _verify_page(result: RestoreResult, collection: ServerCollection, page: Sequence[Record]) -> RestoreResult:
    """Counts the records of a page that differ after a second write. That write removes leaked lists."""
    found = _compare(page, collection)
    if _write_differing(collection, found):
        found = _compare(page, collection)
    differing, rounded = len(found.differing), found.count_rounded()
    return replace(result, differing=result.differing + differing, rounded=result.rounded + rounded)
