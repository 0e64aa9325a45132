"""The file that `backup` writes and `restore` reads: gzip, inside it lines of JSON in UTF-8.

`zcat FILE | jq` reads it. Each line's `type` says what it is, and they come in this order:

    {"type": "start", "format": "sekha-bridge-backup", "version": 1, "written_at": ISO 8601, "collections": [NAME, …]}
    for each collection, in the order of that list:
        {"type": "collection", "name", "server_id", "metadata", "configuration", "dimension", "count"}
        {"type": "record", "id", "document", "metadata", "uri", "vector"}      once for each record
        {"type": "collection_end", "name", "records", "checksum"}
    {"type": "end", "collections": HOW MANY, "records": HOW MANY}

`vector` is base64 of little-endian float32. `document`, `metadata`, `uri` are null where there is none, `dimension`
where there was no record. `configuration` is Chroma's, of the index (`hnsw` or `spann`); `count` is what the server
counted at the start, `records` what was written. Records stand in the collection's order, that of first writing; of
records with one id, which an older version could write, the last counts.

`checksum` is the sum modulo 2²⁵⁶, in hexadecimal, of the SHA-256 of each record's line without its newline; keys are
sorted, nothing stands between tokens, and only what JSON demands is escaped. So it does not depend on the order.

The gzip consists of members that each end with a line (one for each page of records): what a torn file holds up to the
end of its last whole member can be kept.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from sekha_llm_bridge.embeddings.chroma_server import Records

FORMAT = "sekha-bridge-backup"
VERSION = 1

_MODULUS = 2**256
_FLOAT_BYTES = 4
# Base64 of vectors gives way by a quarter at any level; the lowest is several times as fast.
_LEVEL = 1


class InvalidLine(Exception):
    """A line that is none of this format, or not in its place. The message holds nothing of a record's contents."""


def _decoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)


@dataclass(frozen=True, slots=True)
class Start:
    """The first line. `collections` are the names of those that follow."""

    written_at: str
    collections: tuple[str, ...]
    format: str = FORMAT
    version: int = VERSION
    type: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class CollectionStart:
    """The head of a collection. `server_id` is Chroma's id of it, by which a resumed backup knows it again."""

    name: str
    server_id: str
    metadata: dict[str, Any]
    configuration: dict[str, Any]
    dimension: int | None
    count: int
    type: Literal["collection"] = "collection"


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `vector` is little-endian float32."""

    id: str
    document: str | None
    metadata: dict[str, Any] | None
    uri: str | None
    vector: Annotated[bytes, BeforeValidator(_decoded)]
    type: Literal["record"] = "record"

    def contents(self) -> bytes:
        """Everything but the vector, in one form: equal bytes are equal contents, types of numbers included."""
        return _json([self.id, self.document, self.metadata, self.uri])


@dataclass(frozen=True, slots=True)
class CollectionEnd:
    """The foot of a collection."""

    name: str
    records: int
    checksum: str
    type: Literal["collection_end"] = "collection_end"


@dataclass(frozen=True, slots=True)
class End:
    """The last line: a file without it has been cut."""

    collections: int
    records: int
    type: Literal["end"] = "end"


Line: TypeAlias = Start | CollectionStart | Record | CollectionEnd | End
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


def encode_line(line: Line) -> bytes:
    """The line as it stands in the file, its newline included."""
    fields = {field.name: getattr(line, field.name) for field in fields_of(line)}
    if isinstance(line, Record):
        fields["vector"] = base64.b64encode(line.vector).decode()
    return _json(fields) + b"\n"


def parse_line(text: bytes) -> Line:
    """The line that `text` is, without a newline. Raises `InvalidLine`."""
    try:
        return _LINE.validate_json(text)
    except ValidationError as exc:
        fault = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise InvalidLine(f"is no line of a backup ({place or 'the whole'}: {fault['type']})") from None


def gzip_member(lines: Iterable[bytes]) -> bytes:
    """Whole lines as one member of the gzip. The same lines always give the same bytes."""
    return gzip.compress(b"".join(lines), _LEVEL, mtime=0)


class PartialCollection:
    """A collection of a file as far as it has come: its head, and the count and the checksum of its records."""

    def __init__(self, start: CollectionStart) -> None:
        self.start = start
        self.records = 0
        self.line_bytes = 0
        self._sum = 0

    def add(self, text: bytes) -> None:
        """Takes a record's line, without its newline."""
        self.records += 1
        self.line_bytes += len(text)
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(text).digest())) % _MODULUS

    def end(self) -> CollectionEnd:
        """The foot that belongs below what has come."""
        return CollectionEnd(self.start.name, self.records, f"{self._sum:064x}")


def index_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What Chroma needs in order to make the same index again.

    An embedding function is left out: the bridge brings its own vectors, and loading one would run its code.
    """
    wanted = {kind: configuration.get(kind) for kind in ("hnsw", "spann")}
    return {
        kind: {name: value for name, value in parameters.items() if value is not None}
        for kind, parameters in wanted.items()
        if parameters
    }


def to_rows(records: Records) -> Iterator[Record]:
    """A page of a server's records, one by one. What Chroma tells apart in no way (`{}` and no metadata, an empty URI
    and none) has one form here.
    """
    uris = records.uris or [None] * len(records)
    columns = zip(records.ids, records.documents, records.metadatas, uris, records.vectors, strict=True)
    for id_, document, metadata, uri, vector in columns:
        yield Record(id_, document, dict(metadata) if metadata else None, uri or None, vector.astype("<f4").tobytes())


def to_columns(some: Sequence[Record]) -> Records:
    """At least one record, all of one dimension, as a server takes them."""
    import numpy

    vectors: Any = numpy.frombuffer(b"".join(row.vector for row in some), dtype="<f4")
    uris = [row.uri for row in some]
    return Records(
        [row.id for row in some],
        vectors.reshape(len(some), -1).astype(numpy.float32),
        [row.document for row in some],
        [row.metadata for row in some],
        uris if any(uris) else None,
    )


def dimension_of(row: Record) -> int:
    """The length of its vector."""
    return len(row.vector) // _FLOAT_BYTES


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
