"""Encodes batches of records as queue messages of a limited size.

A message is base64 of zlib of: the length of the header (4 bytes, big-endian), the header (JSON), and the vectors one
after another (float32, little-endian). Base64, because SQS accepts only text, and not every Unicode character.

A message for another database than the configured one names it, and has a format of its own: a drain of an older
version, which ignores the name, would store the vectors where everybody finds them. It rejects an unknown format.
"""

import base64
import math
import sys
import zlib
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.embeddings.records import Batch, Database, VectorRecord

_FORMAT = 1
_FORMAT_WITH_DATABASE = 2
_ZLIB_LEVEL = 1  # the fastest: texts compress well at any level, vectors at none
_FLOAT_BYTES = 4
_LENGTH_BYTES = 4  # of the header's length
_OVERHEAD_BYTES = 2_000  # the header's names and brackets, and what zlib adds to incompressible data


class RecordTooLarge(Exception):
    """A single record does not fit into a message."""


class InvalidMessage(Exception):
    """The message was not made by `encode_batch`, or its format is unknown."""


class EncodedMessage(NamedTuple):
    """The body of one message, and the number of records in it."""

    body: str
    records: int


def encode_batch(batch: Batch, *, max_bytes: int) -> list[EncodedMessage]:
    """Encodes the batch's records, each id once, in messages of at most `max_bytes`. Raises `RecordTooLarge`."""
    rows = [(record, orjson.dumps([record.id, record.document, record.metadata])) for record in batch.deduplicated()]
    parts = split_into_batches(
        rows,
        lambda row: len(row[1]) + _FLOAT_BYTES * batch.dimension + 1,
        max_size=max_bytes * 3 // 4 - _OVERHEAD_BYTES,  # base64 adds a third; zlib may save nothing
        max_items=math.inf,
    )
    messages = [_encode(batch, part) for part in parts]
    if any(len(message.body) > max_bytes for message in messages):
        raise RecordTooLarge("a record is too large for a message of the queue")
    return messages


def decode_batch(body: str) -> Batch:
    """Returns the batch in a message; its vectors are arrays of float32. Raises `InvalidMessage`."""
    try:
        content = zlib.decompress(base64.b64decode(body, validate=True))
        header_end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES])
        header = orjson.loads(content[_LENGTH_BYTES:header_end])
        database = _database_in(header)
        vectors, size = memoryview(content)[header_end:], _FLOAT_BYTES * header["dimension"]
        if len(vectors) != size * len(header["records"]):
            raise InvalidMessage("the message has too few or too many vectors")
        records = (
            VectorRecord(
                row[0], row[1], _little_endian(array("f", vectors[size * i : size * (i + 1)].tobytes())), row[2]
            )
            for i, row in enumerate(header["records"])
        )
        return Batch(header["base_name"], header["dimension"], header["space"], tuple(records), database)
    except (zlib.error, LookupError, TypeError, ValueError, OverflowError) as exc:
        raise InvalidMessage(f"the message cannot be decoded ({type(exc).__name__})") from exc


def _database_in(header: Mapping[str, Any]) -> Database | None:
    """Returns the database that the header names; None for the configured one. Raises `InvalidMessage`."""
    form = header["form"]
    if form == _FORMAT:
        return None
    if form == _FORMAT_WITH_DATABASE:
        return Database(str(header["tenant"]), str(header["database"]))
    raise InvalidMessage(f"the message has the unknown format {form!r}")


def _encode(batch: Batch, rows: Sequence[tuple[VectorRecord, bytes]]) -> EncodedMessage:
    fields: dict[str, Any] = {"base_name": batch.base_name, "dimension": batch.dimension, "space": batch.space}
    if batch.database is None:
        fields["form"] = _FORMAT
    else:
        fields |= {"form": _FORMAT_WITH_DATABASE, "tenant": batch.database.tenant, "database": batch.database.name}
    header = orjson.dumps(fields | {"records": [orjson.Fragment(row) for _, row in rows]})
    vectors = b"".join(_little_endian(array("f", record.vector)).tobytes() for record, _ in rows)
    content = zlib.compress(len(header).to_bytes(_LENGTH_BYTES) + header + vectors, _ZLIB_LEVEL)
    return EncodedMessage(base64.b64encode(content).decode(), len(rows))


def _little_endian(numbers: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
