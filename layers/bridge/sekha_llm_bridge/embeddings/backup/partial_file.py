"""The unfinished file of a backup, `FILE.partial`. One backup at a time writes it; a later one continues it."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from sekha_llm_bridge.embeddings.backup.file_format import (
    CollectionStart,
    InvalidLine,
    PartialCollection,
    Record,
    Start,
    parse_line,
)
from sekha_llm_bridge.embeddings.backup.reading import DamagedBackup, ReadPosition, decompress
from sekha_llm_bridge.embeddings.chroma_collection import ServerCollection

_MAX_AGE = timedelta(hours=1)
_OWNER_ONLY = 0o600


class BackupInProgress(Exception):
    """Another backup is writing the same file; the message names it."""


def partial_path(path: Path) -> Path:
    """Returns the path of the unfinished file."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def open_locked(partial: Path) -> Iterator[BinaryIO]:
    """Opens the file for reading and writing, creates it if there is none, and locks it until it is closed.

    Only its owner may read it. Raises `BackupInProgress` and `OSError`.
    """
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, _OWNER_ONLY), "r+b") as file:
        if not _lock(file, partial):
            raise BackupInProgress(f"another backup is writing {partial}: wait for its end, or give another name")
        os.fchmod(file.fileno(), _OWNER_ONLY)
        yield file


def _lock(file: BinaryIO, partial: Path) -> bool:
    """Locks the file. Returns False if it is locked, or has another name now because its backup just finished."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), partial.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def is_stale(file: BinaryIO, now: datetime) -> bool:
    """Returns whether the file was last written more than an hour ago, so that the server may have changed much."""
    written_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    return now - written_at > _MAX_AGE


@dataclass(frozen=True, slots=True)
class StartedCollection:
    """A collection whose start is in the file, and its end is not.

    It starts at the byte `offset` of the file; `last_id` is the id of its last record there.
    """

    part: PartialCollection
    offset: int
    last_id: str | None


class ResumePoint:
    """The place in the file from which a backup continues: the position among the lines, and the byte `end`."""

    def __init__(self) -> None:
        self.position = ReadPosition()
        self.end = 0
        self._collection_offset = 0
        self._last_id: str | None = None

    @property
    def started(self) -> StartedCollection | None:
        """The collection in which the file ends; None if it ends between two collections."""
        part = self.position.open_collection
        return StartedCollection(part, self._collection_offset, self._last_id) if part else None

    def add_member(self, lines: Sequence[bytes], end: int) -> None:
        """Adds the lines of the next gzip member, which ends at the byte `end`. Raises `InvalidLine`."""
        for number, text in enumerate(lines):
            line = self.position.advance(text)
            if isinstance(line, CollectionStart):
                if number:
                    raise InvalidLine("starts a collection in the middle of a member")
                self._collection_offset, self._last_id = self.end, None
            elif isinstance(line, Record):
                self._last_id = line.id
        self.end = end


def find_resume_point(file: BinaryIO, collections: Sequence[ServerCollection]) -> ResumePoint:
    """Returns the place from which a backup of these collections continues, and cuts off the rest of the file.

    It is behind the last whole gzip member before the first collection that no longer exists on the server. It is the
    file's start if the file is a backup of other collections.
    """
    found = ResumePoint()
    ids = {collection.name: collection.id for collection in collections}
    for lines, end in _whole_members(file):
        try:
            if not _belongs(lines, ids):
                break
            found.add_member(lines, end)
        except InvalidLine:
            found = ResumePoint()
            break
    truncate_to(file, found.end)
    return found


def truncate_to(file: BinaryIO, end: int) -> None:
    """Cuts the file off at the byte `end`, and moves there for the next write."""
    file.seek(end)
    file.truncate()


def _belongs(lines: Sequence[bytes], ids: Mapping[str, str]) -> bool:
    """Returns whether a member may be of a backup of the collections with these names and ids. Raises `InvalidLine`."""
    first = parse_line(lines[0]) if lines else None
    match first:
        case Start():
            return first.collections == tuple(ids)
        case CollectionStart():
            return ids.get(first.name) == first.server_id
    return True


def _whole_members(file: BinaryIO) -> Iterator[tuple[list[bytes], int]]:
    """Returns the lines and the end of each gzip member, up to the first one that is incomplete or damaged."""
    content = bytearray()
    try:
        for chunk in decompress(file):
            content += chunk.data
            if chunk.member_end is not None:
                yield bytes(content).split(b"\n")[:-1], chunk.member_end
                content = bytearray()
    except DamagedBackup:
        return
