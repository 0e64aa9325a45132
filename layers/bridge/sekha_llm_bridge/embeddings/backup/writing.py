"""Collections of a Chroma server into a file (`file` says how it looks).

It is written beside its final name, as `FILE.partial`, and renamed when it has been read through and found whole. A
backup that was killed goes on where its `.partial` file ends. Never more than a page of records is in memory.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from sekha_llm_bridge.embeddings.backup.file_format import (
    CollectionStart,
    End,
    PartialCollection,
    Record,
    Start,
    dimension_of,
    encode_line,
    gzip_member,
    index_configuration,
    to_rows,
)
from sekha_llm_bridge.embeddings.backup.pages import collecting_garbage
from sekha_llm_bridge.embeddings.backup.partial_file import (
    ResumePoint,
    StartedCollection,
    find_resume_point,
    is_stale,
    open_locked,
    partial_path,
    truncate_to,
)
from sekha_llm_bridge.embeddings.backup.reading import CollectionSummary, ReadPosition, read_lines
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer, ServerCollection
from sekha_llm_bridge.embeddings.store import CollectionMissing

_FIRST_PAGE = 32
_LARGEST_PAGE = 250
_PAGE_BYTES = 1_000_000
_GROWTH = 4
_MOST_AGAIN = 3  # times that a collection is begun again


class UnknownCollections(Exception):
    """Collections were named that do not exist; the message names them and what there is."""


class CollectionKeepsShrinking(Exception):
    """Records of a collection were deleted each time it was read; the message names it."""


class _Moved(Exception):
    """Records are not at the places any more where they were."""


@dataclass(frozen=True, slots=True)
class BackupProgress:
    """How far it is: records of a collection, of about `total`, and the bytes of their lines in this run.

    `phase` is `reading`, or `checking` when the finished file is read through.
    """

    phase: str
    collection: str
    records: int
    total: int
    line_bytes: int


@dataclass(frozen=True, slots=True)
class BackedUpCollection:
    """One collection of the finished file. `on_server`: how many records the server had at the end, None when the
    collection is gone.
    """

    name: str
    records: int
    line_bytes: int
    checksum: str
    on_server: int | None

    @property
    def is_complete(self) -> bool:
        """Whether the server held as many records at the end as the file does; else something wrote meanwhile."""
        return self.records == self.on_server


ProgressCallback = Callable[[BackupProgress], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished file. `started_at` is ISO 8601; `was_resumed`: an earlier run had started it."""

    collections: list[BackedUpCollection]
    started_at: str
    was_resumed: bool


def back_up(
    server: ChromaServer,
    path: Path,
    *,
    names: Sequence[str],
    now: Callable[[], datetime],
    on_progress: ProgressCallback,
    restart: bool = False,
) -> Backup:
    """Writes the collections `names`, without names all of the database, to `path`, in place of what is there.

    What an earlier run left is kept, unless that was longer than an hour ago, or `restart` is asked for. Raises
    `UnknownCollections` before anything is written, `BackupInProgress` when another backup writes the same file,
    `StoreFailed` when the server fails (run again, it goes on), `CollectionKeepsShrinking`, `DamagedBackup` when the
    file is found damaged in the end, and `OSError`.
    """
    collections = select_collections(server, names)
    partial = partial_path(path)
    with open_locked(partial) as file:
        if restart or is_stale(file, now()):
            truncate_to(file, 0)
        left = find_resume_point(file, collections)
        _fill(file, collections, left, Start(now().isoformat(timespec="seconds"), _names(collections)), on_progress)
        checked = _checked(partial, on_progress)
        partial.replace(path)
        _make_lasting(path.parent)
    done = [_backed_up(one, collection) for one, collection in zip(checked.done, collections, strict=True)]
    return Backup(done, checked.start.written_at if checked.start else "", was_resumed=left.end > 0)


def select_collections(server: ChromaServer, names: Sequence[str]) -> list[ServerCollection]:
    """The collections of these names, without names all there are, in the order of their names.

    Raises `UnknownCollections` and `StoreFailed`.
    """
    there = {collection.name: collection for collection in server.collections()}
    missing = sorted(set(names) - set(there))
    if missing:
        raise UnknownCollections(
            f"no collection {', '.join(missing)}; the server has {', '.join(sorted(there)) or 'none'}"
        )
    return [there[name] for name in sorted(set(names) or there)]


def _names(collections: Sequence[ServerCollection]) -> tuple[str, ...]:
    return tuple(collection.name for collection in collections)


def _fill(
    file: BinaryIO,
    collections: Sequence[ServerCollection],
    left: ResumePoint,
    start: Start,
    on_progress: ProgressCallback,
) -> None:
    """Brings the file to its end, from wherever it is; `start` is its first line where it has none."""
    course, begun = left.course, left.begun
    if course.has_ended:
        return
    if course.start is None:
        file.write(gzip_member([encode_line(start)]))
    records = sum(one.end.records for one in course.done)
    for collection in collections[len(course.done) :]:
        records += _write_collection(file, collection, begun, on_progress)
        begun = None
    file.write(gzip_member([encode_line(End(len(collections), records))]))
    file.flush()
    os.fsync(file.fileno())


def _write_collection(
    file: BinaryIO, collection: ServerCollection, begun: StartedCollection | None, on_progress: ProgressCallback
) -> int:
    """Writes what the file lacks of a collection, all of it where nothing has `begun`; returns how many records it has
    then. Records that were deleted meanwhile have it begin again. Raises `CollectionKeepsShrinking`.
    """
    at = begun.at if begun else file.tell()
    for _ in range(1 + _MOST_AGAIN):
        try:
            return _write_rest(file, collection, begun, on_progress)
        except _Moved:
            begun = None
            truncate_to(file, at)
    raise CollectionKeepsShrinking(
        f"{collection.name}: something deletes records all the time; it was begun {1 + _MOST_AGAIN} times, and each"
        " time records were gone before its end was read"
    )


def _write_rest(
    file: BinaryIO, collection: ServerCollection, begun: StartedCollection | None, on_progress: ProgressCallback
) -> int:
    """Writes the records after those that have `begun`, and the foot; returns how many there are. Raises `_Moved`."""
    part = begun.part if begun else None
    total = part.start.count if part else collection.count()
    for page in collecting_garbage(_pages(collection, part.records if part else 0, begun.last_id if begun else None)):
        lines = []
        if part is None:
            part = PartialCollection(_start(collection, page, total))
            lines.append(encode_line(part.start))
        for row in page:
            lines.append(encode_line(row))
            part.add(lines[-1].removesuffix(b"\n"))
        if not page:
            lines.append(encode_line(part.end()))
        file.write(gzip_member(lines))
        file.flush()
        on_progress(_step("reading", part))
    return part.records if part else 0


def _step(phase: str, part: PartialCollection) -> BackupProgress:
    return BackupProgress(phase, part.start.name, part.records, max(part.records, part.start.count), part.line_bytes)


def _start(collection: ServerCollection, page: Sequence[Record], total: int) -> CollectionStart:
    return CollectionStart(
        collection.name,
        collection.id,
        collection.metadata,
        _index(collection),
        dimension_of(page[0]) if page else None,
        total,
    )


def _index(collection: ServerCollection) -> dict[str, Any]:
    """Its index's configuration, with the measure that holds: of an old collection Chroma may say another there."""
    index = index_configuration(collection.configuration) or {"hnsw": {}}
    return {kind: {**parameters, "space": collection.distance} for kind, parameters in index.items()}


def _pages(collection: ServerCollection, offset: int, last_id: str | None) -> Iterator[list[Record]]:
    """The records after the first `offset`, the last of which is `last_id`, in pages whose size follows that of the
    records. The last page is empty: what is written meanwhile comes at the end, and is read too. Raises `_Moved`.
    """
    limit = _FIRST_PAGE
    while page := _page(collection, offset, limit, last_id):
        yield page
        offset += len(page)
        last_id = page[-1].id
        each = sum(_size(row) for row in page) // len(page) + 1
        limit = max(1, min(_LARGEST_PAGE, _GROWTH * limit, _PAGE_BYTES // each))
    yield []


def _page(collection: ServerCollection, offset: int, limit: int, last_id: str | None) -> list[Record]:
    """At most `limit` records after the first `offset`. It begins to look at the last of those, `last_id`: where that
    has moved, records before it have been deleted, and others have slipped past.
    """
    before = 0 if last_id is None else 1
    found = list(to_rows(collection.page(offset=offset - before, limit=limit + before)))
    is_behind = [row.id for row in found[:before]] == [last_id] * before
    if not is_behind or len({row.id for row in found}) < len(found):
        raise _Moved
    return found[before:]


def _size(row: Record) -> int:
    return len(row.vector) + len(row.contents())


def _checked(partial: Path, on_progress: ProgressCallback) -> ReadPosition:
    """Reads the whole file. Raises `DamagedBackup`."""
    course = ReadPosition()
    for one in read_lines(partial):
        course = one.course
        if course.part is not None and course.part.records % _LARGEST_PAGE == 0:
            on_progress(_step("checking", course.part))
    return course


def _backed_up(one: CollectionSummary, collection: ServerCollection) -> BackedUpCollection:
    try:
        on_server = collection.count()
    except CollectionMissing:
        on_server = None
    return BackedUpCollection(one.end.name, one.end.records, one.line_bytes, one.end.checksum, on_server)


def _make_lasting(folder: Path) -> None:
    """Has the operating system write the folder's new entry to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
