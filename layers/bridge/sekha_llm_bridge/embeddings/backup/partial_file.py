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

from sekha_llm_bridge.embeddings.backup.file_format import CollectionStart, Part, Record, Start, WrongLine, parsed
from sekha_llm_bridge.embeddings.backup.reading import Course, DamagedBackup, pieces
from sekha_llm_bridge.embeddings.chroma_server import ServerCollection

_STALE_AFTER = timedelta(hours=1)
_OWNERS_ALONE = 0o600


class Busy(Exception):
    """Another backup writes the same file at this moment; the message names it."""


def partial_path(path: Path) -> Path:
    """Where the file is while it is not finished."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def opened(partial: Path) -> Iterator[BinaryIO]:
    """The file for reading and writing, made where there is none, and for nobody else until it is closed.

    Raises `Busy` and `OSError`.
    """
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, _OWNERS_ALONE), "r+b") as file:
        if not _is_locked(file, partial):
            raise Busy(f"another backup is writing {partial}: wait for its end, or give another name")
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
class Begun:
    """A collection that has begun and not ended: `at` is the byte of the file where it begins, `last_id` the id of the
    last record that was written.
    """

    part: Part
    at: int
    last_id: str | None


class Kept:
    """What can be kept of an earlier run: the course up to there, and at which byte of the file that is."""

    def __init__(self) -> None:
        self.course = Course()
        self.end = 0
        self._part_at = 0
        self._last_id: str | None = None

    @property
    def begun(self) -> Begun | None:
        """The collection in which it ends, unless it ends between two."""
        part = self.course.part
        return Begun(part, self._part_at, self._last_id) if part else None

    def take(self, lines: Sequence[bytes], ends_at: int) -> None:
        """The lines of the next gzip member, which ends at the byte `ends_at`. Raises `WrongLine`."""
        for number, text in enumerate(lines):
            line = self.course.take(text)
            if isinstance(line, CollectionStart):
                if number:
                    raise WrongLine("begins a collection in the middle of a member")
                self._part_at, self._last_id = self.end, None
            elif isinstance(line, Record):
                self._last_id = line.id
        self.end = ends_at


def kept(file: BinaryIO, collections: Sequence[ServerCollection]) -> Kept:
    """What of the file belongs to a backup of these collections; the rest is cut off.

    Kept are the whole members up to the first collection that is not the server's any more. Nothing is kept of a
    backup of other collections.
    """
    found = Kept()
    ids = {collection.name: collection.id for collection in collections}
    for lines, ends_at in _whole_members(file):
        try:
            if not _belongs(lines, ids):
                break
            found.take(lines, ends_at)
        except WrongLine:
            found = Kept()
            break
    cut(file, found.end)
    return found


def cut(file: BinaryIO, end: int) -> None:
    """Lets the file end at the byte `end`, and go on there."""
    file.seek(end)
    file.truncate()


def _belongs(lines: Sequence[bytes], ids: Mapping[str, str]) -> bool:
    """Whether a member can be of a backup of the collections with these names and ids. Raises `WrongLine`."""
    head = parsed(lines[0]) if lines else None
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
        for piece in pieces(file):
            begun += piece.data
            if piece.ends_at is not None:
                yield bytes(begun).split(b"\n")[:-1], piece.ends_at
                begun = bytearray()
    except DamagedBackup:
        return
