"""The file of a backup that is not finished, `FILE.partial`: one backup at a time writes it, and the next goes on with
what an earlier one left.
"""

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
from sekha_llm_bridge.embeddings.chroma_server import ServerCollection

_STALE_AFTER = timedelta(hours=1)
_OWNERS_ALONE = 0o600


class BackupInProgress(Exception):
    """Another backup writes the same file at this moment; the message names it."""


def partial_path(path: Path) -> Path:
    """Where the file is while it is not finished."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def open_locked(partial: Path) -> Iterator[BinaryIO]:
    """The file for reading and writing, made where there is none, and for nobody else until it is closed.

    Raises `BackupInProgress` and `OSError`.
    """
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, _OWNERS_ALONE), "r+b") as file:
        if not _is_locked(file, partial):
            raise BackupInProgress(f"another backup is writing {partial}: wait for its end, or give another name")
        os.fchmod(file.fileno(), _OWNERS_ALONE)
        yield file


def _is_locked(file: BinaryIO, partial: Path) -> bool:
    """Locks the file, if it is free, and if it is still the one of that name: its writer may just have finished it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), partial.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def is_stale(file: BinaryIO, now: datetime) -> bool:
    """Whether nothing has been written to it for so long that it says little about the server."""
    written_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    return now - written_at > _STALE_AFTER


@dataclass(frozen=True, slots=True)
class StartedCollection:
    """A collection that has begun and not ended: `at` is the byte of the file where it begins, `last_id` the id of the
    last record that was written.
    """

    part: PartialCollection
    at: int
    last_id: str | None


class ResumePoint:
    """What can be kept of an earlier run: the course up to there, and at which byte of the file that is."""

    def __init__(self) -> None:
        self.course = ReadPosition()
        self.end = 0
        self._part_at = 0
        self._last_id: str | None = None

    @property
    def begun(self) -> StartedCollection | None:
        """The collection in which it ends, unless it ends between two."""
        part = self.course.part
        return StartedCollection(part, self._part_at, self._last_id) if part else None

    def take(self, lines: Sequence[bytes], ends_at: int) -> None:
        """The lines of the next gzip member, which ends at the byte `ends_at`. Raises `InvalidLine`."""
        for number, text in enumerate(lines):
            line = self.course.take(text)
            if isinstance(line, CollectionStart):
                if number:
                    raise InvalidLine("begins a collection in the middle of a member")
                self._part_at, self._last_id = self.end, None
            elif isinstance(line, Record):
                self._last_id = line.id
        self.end = ends_at


def find_resume_point(file: BinaryIO, collections: Sequence[ServerCollection]) -> ResumePoint:
    """What of the file belongs to a backup of these collections; the rest is cut off.

    ResumePoint are the whole members up to the first collection that is not the server's any more. Nothing is kept of a
    backup of other collections.
    """
    found = ResumePoint()
    ids = {collection.name: collection.id for collection in collections}
    for lines, ends_at in _whole_members(file):
        try:
            if not _belongs(lines, ids):
                break
            found.take(lines, ends_at)
        except InvalidLine:
            found = ResumePoint()
            break
    truncate_to(file, found.end)
    return found


def truncate_to(file: BinaryIO, end: int) -> None:
    """Lets the file end at the byte `end`, and go on there."""
    file.seek(end)
    file.truncate()


def _belongs(lines: Sequence[bytes], ids: Mapping[str, str]) -> bool:
    """Whether a member can be of a backup of the collections with these names and ids. Raises `InvalidLine`."""
    head = parse_line(lines[0]) if lines else None
    match head:
        case Start():
            return head.collections == tuple(ids)
        case CollectionStart():
            return ids.get(head.name) == head.server_id
    return True


def _whole_members(file: BinaryIO) -> Iterator[tuple[list[bytes], int]]:
    """The lines of each whole gzip member, and where it ends, up to the first that is torn."""
    begun = bytearray()
    try:
        for piece in decompress(file):
            begun += piece.data
            if piece.ends_at is not None:
                yield bytes(begun).split(b"\n")[:-1], piece.ends_at
                begun = bytearray()
    except DamagedBackup:
        return
