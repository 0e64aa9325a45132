"""The format of the file that `backup` writes and `restore` reads: gzip of lines of JSON in UTF-8.

`zcat FILE | jq` reads it. Each line has a `type`. The lines come in this order:

    {"type": "start", "format": "sekha-bridge-backup", "version": 1, "written_at": ISO 8601, "collections": [NAME, …]}
    for each collection, in the order of that list:
        {"type": "collection", "name", "server_id", "metadata", "configuration", "dimension", "count"}
        {"type": "record", "id", "document", "metadata", "uri", "vector"}      once for each record
        {"type": "collection_end", "name", "records", "checksum"}
    {"type": "end", "collections": HOW MANY, "records": HOW MANY}

`vector` is base64 of little-endian float32. `document`, `metadata` and `uri` are null if a record has none; `dimension`
is null if the collection has no records. `configuration` is Chroma's configuration of the index (`hnsw` or `spann`).
`count` is the server's count at the start, `records` the number of written records. Records are in the collection's
order, which is the order of their first writing. Of records with the same id the last one is valid; older versions of
the bridge could write such.

`checksum` is the sum modulo 2²⁵⁶ of the SHA-256 of each record's line without its newline, in hexadecimal. It does not
depend on the order of the records. In a line, keys are sorted, there are no spaces between tokens, and only characters
that JSON requires to be escaped are escaped.

The gzip file has one member for each page of records, and each member ends with a line. So of an incomplete file,
everything up to the end of the last whole member can be kept.
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

from sekha_llm_bridge.embeddings.chroma_collection import Records

FORMAT = "sekha-bridge-backup"
VERSION = 1

_CHECKSUM_MODULUS = 2**256
_FLOAT_BYTES = 4
# Any level makes base64 of vectors smaller by a quarter; the lowest level is several times as fast.
_GZIP_LEVEL = 1


class InvalidLine(Exception):
    """A line is malformed, or not allowed at its place. The message has no text of a record."""


def _decode_vector(value: Any) -> bytes:
    return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)


@dataclass(frozen=True, slots=True)
class Start:
    """The first line. `collections` are the names of the collections in the file."""

    written_at: str
    collections: tuple[str, ...]
    format: str = FORMAT
    version: int = VERSION
    type: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class CollectionStart:
    """The first line of a collection. A resumed backup identifies the collection by `server_id`, Chroma's id."""

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
    vector: Annotated[bytes, BeforeValidator(_decode_vector)]
    type: Literal["record"] = "record"

    def contents(self) -> bytes:
        """Returns everything but the vector as JSON. Equal bytes are equal contents, types of numbers included."""
        return _json([self.id, self.document, self.metadata, self.uri])


@dataclass(frozen=True, slots=True)
class CollectionEnd:
    """The last line of a collection."""

    name: str
    records: int
    checksum: str
    type: Literal["collection_end"] = "collection_end"


@dataclass(frozen=True, slots=True)
class End:
    """The last line. A file without it is incomplete."""

    collections: int
    records: int
    type: Literal["end"] = "end"


Line: TypeAlias = Start | CollectionStart | Record | CollectionEnd | End
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


def encode_line(line: Line) -> bytes:
    """Returns the line as it is written to the file, with its newline."""
    fields = {field.name: getattr(line, field.name) for field in fields_of(line)}
    if isinstance(line, Record):
        fields["vector"] = base64.b64encode(line.vector).decode()
    return _json(fields) + b"\n"


def parse_line(text: bytes) -> Line:
    """Parses a line, given without its newline. Raises `InvalidLine`."""
    try:
        return _LINE.validate_json(text)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, error["loc"]))
        raise InvalidLine(f"is not a line of a backup ({field or 'the whole line'}: {error['type']})") from None


def gzip_member(lines: Iterable[bytes]) -> bytes:
    """Returns whole lines as one gzip member. The same lines always give the same bytes."""
    return gzip.compress(b"".join(lines), _GZIP_LEVEL, mtime=0)


class PartialCollection:
    """A collection of which the file has a part: its first line, and the number and checksum of the records so far."""

    def __init__(self, start: CollectionStart) -> None:
        self.start = start
        self.records = 0
        self.line_bytes = 0
        self._sum = 0

    def add(self, text: bytes) -> None:
        """Adds a record's line, given without its newline."""
        self.records += 1
        self.line_bytes += len(text)
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(text).digest())) % _CHECKSUM_MODULUS

    def end(self) -> CollectionEnd:
        """Returns the last line for the records so far."""
        return CollectionEnd(self.start.name, self.records, f"{self._sum:064x}")


def index_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of Chroma's configuration that creates the same index again.

    An embedding function is left out: the bridge supplies the vectors itself, and loading the function would run its
    code.
    """
    wanted = {kind: configuration.get(kind) for kind in ("hnsw", "spann")}
    return {
        kind: {name: value for name, value in parameters.items() if value is not None}
        for kind, parameters in wanted.items()
        if parameters
    }


def to_rows(records: Records) -> Iterator[Record]:
    """Returns the records of a page of a collection one by one.

    Chroma does not distinguish `{}` from no metadata, nor an empty URI from none: both become None.
    """
    uris = records.uris or [None] * len(records)
    columns = zip(records.ids, records.documents, records.metadatas, uris, records.vectors, strict=True)
    for id_, document, metadata, uri, vector in columns:
        yield Record(id_, document, dict(metadata) if metadata else None, uri or None, vector.astype("<f4").tobytes())


def to_columns(rows: Sequence[Record]) -> Records:
    """Returns records as columns. `rows` must not be empty, and all must have the same dimension."""
    import numpy

    vectors: Any = numpy.frombuffer(b"".join(row.vector for row in rows), dtype="<f4")
    uris = [row.uri for row in rows]
    return Records(
        [row.id for row in rows],
        vectors.reshape(len(rows), -1).astype(numpy.float32),
        [row.document for row in rows],
        [row.metadata for row in rows],
        uris if any(uris) else None,
    )


def dimension_of(row: Record) -> int:
    """Returns the dimension of a record's vector."""
    return len(row.vector) // _FLOAT_BYTES


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
