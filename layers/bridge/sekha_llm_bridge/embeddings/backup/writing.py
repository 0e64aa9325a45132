"""Collections of a Chroma server into a file (`backup_file` says how it looks).

It is written beside its final name, as `FILE.partial`, and renamed when it has been read through and found whole. A
backup that was killed goes on where its `.partial` file ends. Never more than a page of records is in memory.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from sekha_llm_bridge.embeddings.backup.file import (
    CollectionStart,
    End,
    Part,
    Record,
    Start,
    WrongLine,
    dimension_of,
    encoded,
    index_of,
    member,
    parsed,
    rows,
)
from sekha_llm_bridge.embeddings.backup.pages import swept
from sekha_llm_bridge.embeddings.backup.reading import Contents, Course, DamagedBackup, pieces, read
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer, ServerCollection
from sekha_llm_bridge.embeddings.store import CollectionGone

_FIRST_PAGE = 32
_LARGEST_PAGE = 250
_PAGE_BYTES = 1_000_000
_GROWTH = 4


class UnknownCollections(Exception):
    """Collections were named that do not exist; the message names them and what there is."""


@dataclass(frozen=True, slots=True)
class BackupStep:
    """How far it is: records of a collection, of about `total`, and the bytes of their lines in this run.

    `doing` is `reading`, or `checking` when the finished file is read through.
    """

    doing: str
    collection: str
    records: int
    total: int
    line_bytes: int


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One collection of the finished file. `on_server`: how many records the server had at the end, None when the
    collection is gone.
    """

    name: str
    records: int
    line_bytes: int
    checksum: str
    on_server: int | None

    @property
    def is_everything(self) -> bool:
        """Whether the server held as many records at the end as the file does; else something wrote meanwhile."""
        return self.records == self.on_server


Told = Callable[[BackupStep], None]


def partial_path(path: Path) -> Path:
    """Where the file is while it is not finished."""
    return path.with_name(f"{path.name}.partial")


def back_up(
    server: ChromaServer, path: Path, *, names: Sequence[str], now: Callable[[], datetime], told: Told
) -> list[BackedUp]:
    """Writes the collections `names`, without names all of the database, to `path`, in place of what is there.

    Raises `UnknownCollections` before anything is written, `StoreFailed` when the server fails (run again, it goes
    on), `DamagedBackup` when the file is found damaged in the end, and `OSError`.
    """
    collections = chosen(server, names)
    partial = partial_path(path)
    with _opened(partial) as file:
        _fill(file, collections, now, told)
    checked = _checked(partial, told)
    partial.replace(path)
    _make_lasting(path.parent)
    return [_backed_up(one, collection) for one, collection in zip(checked, collections, strict=True)]


def chosen(server: ChromaServer, names: Sequence[str]) -> list[ServerCollection]:
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


def _fill(file: BinaryIO, collections: Sequence[ServerCollection], now: Callable[[], datetime], told: Told) -> None:
    """Brings the file to its end, from wherever it is."""
    course = _kept(file, collections)
    if course.has_ended:
        return
    if course.start is None:
        names = tuple(collection.name for collection in collections)
        file.write(member([encoded(Start(now().isoformat(timespec="seconds"), names))]))
    records = sum(one.end.records for one in course.done)
    part = course.part
    for collection in collections[len(course.done) :]:
        records += _write_collection(file, collection, part, told)
        part = None
    file.write(member([encoded(End(len(collections), records))]))
    file.flush()
    os.fsync(file.fileno())


def _write_collection(file: BinaryIO, collection: ServerCollection, part: Part | None, told: Told) -> int:
    """Writes what the file lacks of a collection, all of it without a `part`; returns how many records it has then."""
    total = part.start.count if part else collection.count()
    for page in swept(_pages(collection, part.records if part else 0)):
        lines = []
        if part is None:
            part = Part(_start(collection, page, total))
            lines.append(encoded(part.start))
        for row in page:
            lines.append(encoded(row))
            part.add(lines[-1].removesuffix(b"\n"))
        if not page:
            lines.append(encoded(part.end()))
        file.write(member(lines))
        file.flush()
        told(_step("reading", part))
    return part.records if part else 0


def _step(doing: str, part: Part) -> BackupStep:
    return BackupStep(doing, part.start.name, part.records, max(part.records, part.start.count), part.line_bytes)


def _start(collection: ServerCollection, page: Sequence[Record], total: int) -> CollectionStart:
    return CollectionStart(
        collection.name,
        collection.id,
        collection.metadata,
        index_of(collection.configuration),
        dimension_of(page[0]) if page else None,
        total,
    )


def _pages(collection: ServerCollection, offset: int) -> Iterator[list[Record]]:
    """The records from `offset` on, in pages whose size follows that of the records. The last page is empty: what is
    written meanwhile comes at the end, and is read too.
    """
    limit = _FIRST_PAGE
    while page := list(rows(collection.page(offset=offset, limit=limit))):
        yield page
        offset += len(page)
        each = sum(_size(row) for row in page) // len(page) + 1
        limit = max(1, min(_LARGEST_PAGE, _GROWTH * limit, _PAGE_BYTES // each))
    yield []


def _size(row: Record) -> int:
    return len(row.vector) + len(row.contents())


def _opened(partial: Path) -> BinaryIO:
    """The file for reading and writing, made where there is none."""
    return os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def _kept(file: BinaryIO, collections: Sequence[ServerCollection]) -> Course:
    """The course up to the end of what can be kept of an earlier run; the file is cut off there.

    Kept are the whole members up to the first collection that is not the server's any more. Nothing is kept of a
    backup of other collections.
    """
    course, end = Course(), 0
    wanted = tuple(collection.name for collection in collections)
    ids = {collection.name: collection.id for collection in collections}
    for lines, ends_at in _whole_members(file):
        try:
            head = parsed(lines[0]) if lines else None
            is_other = isinstance(head, Start) and head.collections != wanted
            if is_other or (isinstance(head, CollectionStart) and ids.get(head.name) != head.server_id):
                break
            for line in lines:
                course.take(line)
        except WrongLine:
            course, end = Course(), 0
            break
        end = ends_at
    file.seek(end)
    file.truncate()
    return course


def _whole_members(file: BinaryIO) -> Iterator[tuple[list[bytes], int]]:
    """The lines of each whole gzip member, and where it ends, up to the first that is torn."""
    begun = bytearray()
    try:
        for piece in pieces(file):
            begun += piece.data
            if piece.ends_at is not None:
                yield bytes(begun).split(b"\n")[:-1], piece.ends_at
                begun = bytearray()
    except DamagedBackup:
        return


def _checked(partial: Path, told: Told) -> list[Contents]:
    """Reads the whole file. Raises `DamagedBackup`."""
    course = Course()
    for one in read(partial):
        course = one.course
        if course.part is not None and course.part.records % _LARGEST_PAGE == 0:
            told(_step("checking", course.part))
    return course.done


def _backed_up(one: Contents, collection: ServerCollection) -> BackedUp:
    try:
        on_server = collection.count()
    except CollectionGone:
        on_server = None
    return BackedUp(one.end.name, one.end.records, one.line_bytes, one.end.checksum, on_server)


def _make_lasting(folder: Path) -> None:
    """Has the operating system write the folder's new entry to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
