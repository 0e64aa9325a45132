"""Reading a backup file: line by line, each checked against those before it, never more of it in memory than a line
and a piece of a few hundred kilobytes.
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
_INFLATED_BYTES = 1 << 18  # at most, of one piece
_LONGEST_LINE_BYTES = 1 << 27
_GZIP = 31  # zlib's number for a member with gzip's header and trailer
_GZIP_STARTS = b"\x1f\x8b"


class DamagedBackup(Exception):
    """The file is no backup, or not the whole of one, or not as it was written; the message says where."""


@dataclass(frozen=True, slots=True)
class DecompressedChunk:
    """Some inflated bytes. `ends_at`: how far in the file the gzip member went whose last piece this is, else None."""

    data: bytes
    ends_at: int | None


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One collection of a file: its head, its foot, and the bytes of its records' lines."""

    start: CollectionStart
    end: CollectionEnd
    line_bytes: int


class ReadPosition:
    """Where in a backup one is: takes its lines in order, and raises `InvalidLine` at the first that cannot be next."""

    def __init__(self) -> None:
        self.start: Start | None = None
        self.part: PartialCollection | None = None
        """The collection that has begun and not ended."""
        self.done: list[CollectionSummary] = []
        self.has_ended = False

    def take(self, text: bytes) -> Line:
        """The next line, parse_line. `text` comes without its newline."""
        line = parse_line(text)
        if self.has_ended:
            raise InvalidLine("comes after the end of the backup")
        if (self.start is None) != isinstance(line, Start):
            raise InvalidLine("is not the first line of a backup" if self.start is None else "is a second first line")
        self._enter(line, text)
        return line

    def _enter(self, line: Line, text: bytes) -> None:
        match line:
            case Start():
                _require_format(line)
                self.start = line
            case CollectionStart():
                self._begin(line)
            case Record():
                self._count(line, text)
            case CollectionEnd():
                self._finish(line)
            case End():
                self._end(line)
            case _:
                assert_never(line)

    def _begin(self, line: CollectionStart) -> None:
        names = self.start.collections if self.start else ()
        expected = names[len(self.done)] if len(self.done) < len(names) else None
        if self.part is not None or line.name != expected:
            raise InvalidLine(f"begins the collection {line.name}, and it is not its turn")
        self.part = PartialCollection(line)

    def _count(self, line: Record, text: bytes) -> None:
        if self.part is None:
            raise InvalidLine("is a record outside a collection")
        if dimension_of(line) != self.part.start.dimension:
            raise InvalidLine(f"has a vector of {dimension_of(line)} numbers, not {self.part.start.dimension}")
        self.part.add(text)

    def _finish(self, line: CollectionEnd) -> None:
        part = self.part
        if part is None or line.name != part.start.name:
            raise InvalidLine(f"ends the collection {line.name}, which has not begun")
        if line.records != part.records:
            raise InvalidLine(f"says that {line.name} has {line.records} records, and it has {part.records}")
        if line != part.end():
            raise InvalidLine(f"has another checksum than the records of {line.name}")
        self.done.append(CollectionSummary(part.start, line, part.line_bytes))
        self.part = None

    def _end(self, line: End) -> None:
        names = self.start.collections if self.start else ()
        records = sum(one.end.records for one in self.done)
        found = (len(self.done), records)
        if self.part is not None or len(self.done) != len(names) or found != (line.collections, line.records):
            raise InvalidLine(
                f"says {line.collections} collections with {line.records} records; {found[0]} with {records} came"
            )
        self.has_ended = True


def _require_format(line: Start) -> None:
    if line.format != FORMAT:
        raise InvalidLine("is not the first line of a backup")
    if line.version != VERSION:
        raise InvalidLine(f"says that the format is of version {line.version}, and only {VERSION} is known here")


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line, and the course up to it."""

    line: Line
    course: ReadPosition


def read_lines(path: Path) -> Iterator[ReadLine]:
    """Every line of the file in order, checked; at the end it is known to be whole. Raises `DamagedBackup`, and
    `OSError` when it cannot be read.
    """
    course = ReadPosition()
    number = 0
    with path.open("rb") as file:
        for number, text in enumerate(_lines(path, file), 1):
            try:
                line = course.take(text)
            except InvalidLine as exc:
                _damaged(path, f"line {number} {exc}")
            yield ReadLine(line, course)
    if not course.has_ended:
        _damaged(path, f"cut after line {number}: its end is missing")


def collection_summaries(path: Path) -> list[CollectionSummary]:
    """The collections of a file that has been read through and is whole. Raises as `read` does."""
    course = ReadPosition()
    for one in read_lines(path):
        course = one.course
    return course.done


def decompress(file: BinaryIO) -> Iterator[DecompressedChunk]:
    """The inflated bytes of a gzip file from where `file` stands, which is its start. Raises `DamagedBackup`."""
    at = 0
    pending = file.read(_READ_BYTES)
    while pending:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            if not pending:
                pending = file.read(_READ_BYTES)
            is_last = not pending
            try:
                data = member.decompress(pending, _INFLATED_BYTES)
            except zlib.error as exc:
                raise DamagedBackup(f"what is compressed is damaged after byte {at:,}") from exc
            left = member.unconsumed_tail or member.unused_data
            at += len(pending) - len(left)
            pending = left
            if is_last and not data and not member.eof:
                raise DamagedBackup(f"cut at byte {at:,}")
            yield DecompressedChunk(data, at if member.eof else None)
        pending = pending or file.read(_READ_BYTES)


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    if file.read(len(_GZIP_STARTS)) != _GZIP_STARTS:
        _damaged(path, "not gzip, so no backup")
    file.seek(0)
    number, begun = 0, bytearray()
    try:
        for piece in decompress(file):
            begun += piece.data
            *whole, rest = begun.split(b"\n") if b"\n" in piece.data else [begun]
            for text in whole:
                number += 1
                yield bytes(text)
            begun = rest
            if len(begun) > _LONGEST_LINE_BYTES:
                raise DamagedBackup("a line is longer than any record")  # noqa: TRY301 — gets its place below
    except DamagedBackup as exc:
        _damaged(path, f"{exc}, in line {number + 1}")
    if begun:
        _damaged(path, f"cut in line {number + 1}")


def _damaged(path: Path, what: str) -> NoReturn:
    raise DamagedBackup(f"{path}: {what}") from None
