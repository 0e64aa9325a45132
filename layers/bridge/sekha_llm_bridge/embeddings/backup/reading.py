"""Reads a backup file line by line, and checks each line against those before it.

At most one line and one decompressed chunk of a few hundred kilobytes are in memory.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, assert_never

from sekha_llm_bridge.embeddings.backup.file_format import (
    FORMAT,
    VERSION,
    CollectionEnd,
    CollectionStart,
    End,
    InvalidLine,
    Line,
    PartialCollection,
    Record,
    Start,
    dimension_of,
    parse_line,
)

_READ_BYTES = 1 << 16
_MAX_CHUNK_BYTES = 1 << 18
_MAX_LINE_BYTES = 1 << 27
_GZIP_WINDOW_BITS = 31  # zlib's value for a member with gzip's header and trailer
_GZIP_MAGIC = b"\x1f\x8b"


class DamagedBackup(Exception):
    """The file is not a backup, is incomplete, or was changed; the message says where."""


@dataclass(frozen=True, slots=True)
class DecompressedChunk:
    """Some decompressed bytes. `member_end` is the end of their gzip member in the file, None if it has more bytes."""

    data: bytes
    member_end: int | None


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One collection of a file: its first and last line, and the size of its records' lines."""

    start: CollectionStart
    end: CollectionEnd
    line_bytes: int


class ReadPosition:
    """The position in a backup file. It accepts the lines in order and rejects a line that cannot come next.

    `start` is the file's first line. `open_collection` has started and not ended. `finished` have ended.
    """

    def __init__(self) -> None:
        self.start: Start | None = None
        self.open_collection: PartialCollection | None = None
        self.finished: list[CollectionSummary] = []
        self.has_ended = False

    def advance(self, text: bytes) -> Line:
        """Parses the next line, given without its newline, and moves behind it. Raises `InvalidLine`."""
        line = parse_line(text)
        if self.has_ended:
            raise InvalidLine("comes after the end of the backup")
        if (self.start is None) != isinstance(line, Start):
            raise InvalidLine("is not the first line of a backup" if self.start is None else "is a second first line")
        match line:
            case Start():
                self._start_file(line)
            case CollectionStart():
                self._start_collection(line)
            case Record():
                self._add_record(line, text)
            case CollectionEnd():
                self._end_collection(line)
            case End():
                self._end_file(line)
            case _:
                assert_never(line)
        return line

    def _start_file(self, line: Start) -> None:
        if line.format != FORMAT:
            raise InvalidLine("is not the first line of a backup")
        if line.version != VERSION:
            raise InvalidLine(f"has the format version {line.version}; only {VERSION} is supported")
        self.start = line

    def _start_collection(self, line: CollectionStart) -> None:
        names = self.start.collections if self.start else ()
        expected = names[len(self.finished)] if len(self.finished) < len(names) else None
        if self.open_collection is not None or line.name != expected:
            raise InvalidLine(f"starts the collection {line.name}, which is not the next one")
        self.open_collection = PartialCollection(line)

    def _add_record(self, line: Record, text: bytes) -> None:
        part = self.open_collection
        if part is None:
            raise InvalidLine("is a record outside a collection")
        if dimension_of(line) != part.start.dimension:
            raise InvalidLine(f"has a vector of {dimension_of(line)} numbers, not {part.start.dimension}")
        part.add(text)

    def _end_collection(self, line: CollectionEnd) -> None:
        part = self.open_collection
        if part is None or line.name != part.start.name:
            raise InvalidLine(f"ends the collection {line.name}, which has not started")
        if line.records != part.records:
            raise InvalidLine(f"says that {line.name} has {line.records} records, but it has {part.records}")
        if line != part.end():
            raise InvalidLine(f"has another checksum than the records of {line.name}")
        self.finished.append(CollectionSummary(part.start, line, part.line_bytes))
        self.open_collection = None

    def _end_file(self, line: End) -> None:
        names = self.start.collections if self.start else ()
        found = (len(self.finished), sum(one.end.records for one in self.finished))
        is_complete = self.open_collection is None and len(self.finished) == len(names)
        if not is_complete or found != (line.collections, line.records):
            says = f"says {line.collections} collections with {line.records} records"
            raise InvalidLine(f"{says}; the file has {found[0]} with {found[1]}")
        self.has_ended = True


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line, and the position behind it."""

    line: Line
    position: ReadPosition


def read_lines(path: Path) -> Iterator[ReadLine]:
    """Returns every line of the file in order, checked. After the last one, the file is known to be complete.

    Raises `DamagedBackup`, and `OSError` if the file cannot be read.
    """
    position = ReadPosition()
    number = 0
    with path.open("rb") as file:
        for number, text in enumerate(_raw_lines(path, file), 1):
            try:
                line = position.advance(text)
            except InvalidLine as exc:
                _raise_damaged(path, f"line {number} {exc}")
            yield ReadLine(line, position)
    if not position.has_ended:
        _raise_damaged(path, f"cut after line {number}: its end is missing")


def collection_summaries(path: Path) -> list[CollectionSummary]:
    """Reads and checks the whole file. Returns its collections. Raises the same errors as `read_lines`."""
    position = ReadPosition()
    for one in read_lines(path):
        position = one.position
    return position.finished


def decompress(file: BinaryIO) -> Iterator[DecompressedChunk]:
    """Decompresses a gzip file from its start, to which `file` must be positioned. Raises `DamagedBackup`."""
    at = 0
    pending = file.read(_READ_BYTES)
    while pending:
        member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        while not member.eof:
            if not pending:
                pending = file.read(_READ_BYTES)
            is_last = not pending
            try:
                data = member.decompress(pending, _MAX_CHUNK_BYTES)
            except zlib.error as exc:
                raise DamagedBackup(f"the compressed data are damaged after byte {at:,}") from exc
            left = member.unconsumed_tail or member.unused_data
            at += len(pending) - len(left)
            pending = left
            if is_last and not data and not member.eof:
                raise DamagedBackup(f"cut at byte {at:,}")
            yield DecompressedChunk(data, at if member.eof else None)
        pending = pending or file.read(_READ_BYTES)


def _raw_lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Returns the decompressed lines without their newlines. Raises `DamagedBackup`."""
    if file.read(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
        _raise_damaged(path, "not gzip, so no backup")
    file.seek(0)
    number, unfinished = 0, bytearray()
    try:
        for chunk in decompress(file):
            unfinished += chunk.data
            *lines, rest = unfinished.split(b"\n") if b"\n" in chunk.data else [unfinished]
            for text in lines:
                number += 1
                yield bytes(text)
            unfinished = rest
            if len(unfinished) > _MAX_LINE_BYTES:
                raise DamagedBackup("a line is longer than any record")  # noqa: TRY301 — the handler below adds the place
    except DamagedBackup as exc:
        _raise_damaged(path, f"{exc}, in line {number + 1}")
    if unfinished:
        _raise_damaged(path, f"cut in line {number + 1}")


def _raise_damaged(path: Path, what: str) -> NoReturn:
    raise DamagedBackup(f"{path}: {what}") from None
