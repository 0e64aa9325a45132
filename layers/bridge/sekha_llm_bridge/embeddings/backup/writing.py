"""Writes collections of a Chroma server to a backup file (its format: `file_format`).

The file is written as `FILE.partial`, then read and checked, then renamed. A backup that was killed continues where its
`.partial` file ends. At most one page of records is in memory.
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
from sekha_llm_bridge.embeddings.backup.memory import with_garbage_collection
from sekha_llm_bridge.embeddings.backup.partial_file import (
    ResumePoint,
    StartedCollection,
    find_resume_point,
    is_stale,
    open_locked,
    partial_path,
    truncate_to,
)
from sekha_llm_bridge.embeddings.backup.reading import ReadPosition, read_lines
from sekha_llm_bridge.embeddings.chroma_collection import ServerCollection
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.store import CollectionMissing

_FIRST_PAGE = 32
_MAX_PAGE = 250
_PAGE_BYTES = 1_000_000
_GROWTH = 4
_MAX_RESTARTS = 3  # of one collection


class UnknownCollections(Exception):
    """Some of the named collections do not exist; the message names them and those that do."""


class CollectionKeepsShrinking(Exception):
    """Records of a collection were deleted each time it was read; the message names it."""


class _RecordsShifted(Exception):
    """Records are at other offsets than before, because earlier ones were deleted."""


@dataclass(frozen=True, slots=True)
class BackupProgress:
    """How many of a collection's about `total` records are done, and the size of their lines in this run.

    `phase` is `reading`, then `checking` while the finished file is read.
    """

    phase: str
    collection: str
    records: int
    total: int
    line_bytes: int


@dataclass(frozen=True, slots=True)
class BackedUpCollection:
    """One collection of the finished file.

    `on_server` is the number of its records on the server at the end, None if the collection was deleted.
    """

    name: str
    records: int
    line_bytes: int
    checksum: str
    on_server: int | None

    @property
    def is_complete(self) -> bool:
        """Whether the server has as many records at the end as the file. If not, something wrote during the backup."""
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
    """Writes the collections `names` (all of the database if empty) to `path`, and replaces an existing file.

    Continues the unfinished file of an earlier run, unless that is older than an hour or `restart` is set. Raises
    `UnknownCollections` before anything is written, `BackupInProgress` if another backup writes the same file,
    `StoreFailed` if the server fails (a second run continues), `CollectionKeepsShrinking`, `DamagedBackup` if the
    written file is found damaged, and `OSError`.
    """
    collections = select_collections(server, names)
    partial = partial_path(path)
    with open_locked(partial) as file:
        if restart or is_stale(file, now()):
            truncate_to(file, 0)
        resume_point = find_resume_point(file, collections)
        start = Start(now().isoformat(timespec="seconds"), tuple(collection.name for collection in collections))
        _write_missing(file, collections, resume_point, start, on_progress)
        checked = _check(partial, on_progress)
        partial.replace(path)
        _sync_directory(path.parent)
    summaries = zip(checked.finished, collections, strict=True)
    done = [
        BackedUpCollection(one.end.name, one.end.records, one.line_bytes, one.end.checksum, _count(collection))
        for one, collection in summaries
    ]
    return Backup(done, checked.start.written_at if checked.start else "", was_resumed=resume_point.end > 0)


def select_collections(server: ChromaServer, names: Sequence[str]) -> list[ServerCollection]:
    """Returns the collections with these names (all if empty), sorted by name.

    Raises `UnknownCollections` and `StoreFailed`.
    """
    existing = {collection.name: collection for collection in server.collections()}
    missing = sorted(set(names) - set(existing))
    if missing:
        raise UnknownCollections(
            f"no collection {', '.join(missing)}; the server has {', '.join(sorted(existing)) or 'none'}"
        )
    return [existing[name] for name in sorted(set(names) or existing)]


def _write_missing(
    file: BinaryIO,
    collections: Sequence[ServerCollection],
    resume_point: ResumePoint,
    start: Start,
    on_progress: ProgressCallback,
) -> None:
    """Writes what the file lacks behind the resume point. `start` is its first line if it is empty."""
    position, started = resume_point.position, resume_point.started
    if position.has_ended:
        return
    if position.start is None:
        file.write(gzip_member([encode_line(start)]))
    records = sum(one.end.records for one in position.finished)
    for collection in collections[len(position.finished) :]:
        records += _write_collection(file, collection, started, on_progress)
        started = None
    file.write(gzip_member([encode_line(End(len(collections), records))]))
    file.flush()
    os.fsync(file.fileno())


def _write_collection(
    file: BinaryIO, collection: ServerCollection, started: StartedCollection | None, on_progress: ProgressCallback
) -> int:
    """Writes a collection, or the rest of one that is `started`. Returns the number of its records in the file.

    Starts the collection again if records are deleted while it is read. Raises `CollectionKeepsShrinking`.
    """
    offset = started.offset if started else file.tell()
    for _ in range(1 + _MAX_RESTARTS):
        try:
            return _write_rest(file, collection, started, on_progress)
        except _RecordsShifted:
            started = None
            truncate_to(file, offset)
    raise CollectionKeepsShrinking(
        f"{collection.name}: something deletes records all the time; it was read {1 + _MAX_RESTARTS} times, and each"
        " time records were deleted before its end"
    )


def _write_rest(
    file: BinaryIO, collection: ServerCollection, started: StartedCollection | None, on_progress: ProgressCallback
) -> int:
    """Writes the records behind those that are `started`, and the last line. Raises `_RecordsShifted`."""
    part = started.part if started else None
    total = part.start.count if part else collection.count()
    pages = _pages(collection, part.records if part else 0, started.last_id if started else None)
    for page in with_garbage_collection(pages):
        lines = []
        if part is None:
            dimension = dimension_of(page[0]) if page else None
            settings = collection.metadata, _index_configuration(collection)
            part = PartialCollection(CollectionStart(collection.name, collection.id, *settings, dimension, total))
            lines.append(encode_line(part.start))
        for row in page:
            lines.append(encode_line(row))
            part.add(lines[-1].removesuffix(b"\n"))
        if not page:
            lines.append(encode_line(part.end()))
        file.write(gzip_member(lines))
        file.flush()
        on_progress(_progress("reading", part))
    return part.records if part else 0


def _progress(phase: str, part: PartialCollection) -> BackupProgress:
    return BackupProgress(phase, part.start.name, part.records, max(part.records, part.start.count), part.line_bytes)


def _index_configuration(collection: ServerCollection) -> dict[str, Any]:
    """Returns the index's configuration with the real distance measure: see `chroma_quirks.distance_of`."""
    index = index_configuration(collection.configuration) or {"hnsw": {}}
    return {kind: {**parameters, "space": collection.distance} for kind, parameters in index.items()}


def _pages(collection: ServerCollection, offset: int, last_id: str | None) -> Iterator[list[Record]]:
    """Returns the records behind the first `offset`, the last of which is `last_id`, then an empty page.

    The page size depends on the size of the records. Records that are written meanwhile are read too, because new ones
    are at the end. Raises `_RecordsShifted`.
    """
    limit = _FIRST_PAGE
    while page := _page(collection, offset, limit, last_id):
        yield page
        offset += len(page)
        last_id = page[-1].id
        record_bytes = sum(len(row.vector) + len(row.contents()) for row in page) // len(page) + 1
        limit = max(1, min(_MAX_PAGE, _GROWTH * limit, _PAGE_BYTES // record_bytes))
    yield []


def _page(collection: ServerCollection, offset: int, limit: int, last_id: str | None) -> list[Record]:
    """Returns at most `limit` records behind the first `offset`.

    It also reads the last of the first `offset` records. If that is not `last_id`, earlier records have been deleted
    and later ones have moved to places that were already read: raises `_RecordsShifted`.
    """
    before = 0 if last_id is None else 1
    rows = list(to_rows(collection.page(offset=offset - before, limit=limit + before)))
    is_unmoved = [row.id for row in rows[:before]] == [last_id] * before
    if not is_unmoved or len({row.id for row in rows}) < len(rows):
        raise _RecordsShifted
    return rows[before:]


def _check(partial: Path, on_progress: ProgressCallback) -> ReadPosition:
    """Reads and checks the whole file. Raises `DamagedBackup`."""
    position = ReadPosition()
    for one in read_lines(partial):
        position = one.position
        if position.open_collection is not None and position.open_collection.records % _MAX_PAGE == 0:
            on_progress(_progress("checking", position.open_collection))
    return position


def _count(collection: ServerCollection) -> int | None:
    """Returns the number of records, None if the collection was deleted."""
    try:
        return collection.count()
    except CollectionMissing:
        return None


def _sync_directory(directory: Path) -> None:
    """Makes the operating system write the directory's new entry to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
