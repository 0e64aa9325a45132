"""Batches on their way through a queue: packed into messages of a limited size, vectors as float32.

The form of a message: base64 of zlib of the length of a head (4 bytes, big-endian), the head (JSON), and the vectors
one after another, each number in four bytes, little-endian. A queue takes text only, and not all of Unicode.
"""

import base64
import math
import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.embeddings.records import Batch, VectorRecord

_FORM = 1
_QUICK = 1  # zlib's level: texts shrink, vectors hardly do
_BYTES_PER_NUMBER = 4
_HEAD_LENGTH = 4
_HEAD_ROOM = 2_000  # names, brackets, and what zlib adds to what it cannot shrink


class RecordTooLarge(Exception):
    """One record alone is more than a message holds."""


class InvalidMessage(Exception):
    """A message that `encode_batch` has not made, or of a form that is not known here."""


@dataclass(frozen=True, slots=True)
class EncodedMessage:
    """One message, and how many records are in it."""

    body: str
    records: int


def encode_batch(batch: Batch, *, max_bytes: int) -> list[EncodedMessage]:
    """The batch's records, each id once, in as many messages as it takes. Raises `RecordTooLarge`."""
    rows = [(record, orjson.dumps([record.id, record.document, record.metadata])) for record in batch.deduplicated()]
    parts = split_into_batches(
        rows,
        lambda row: len(row[1]) + _BYTES_PER_NUMBER * batch.dimension + 1,
        max_size=max_bytes * 3 // 4 - _HEAD_ROOM,  # even if nothing shrinks
        max_items=math.inf,
    )
    messages = [_packed(batch, part) for part in parts]
    if any(len(message.body) > max_bytes for message in messages):
        raise RecordTooLarge("a record is too large to be kept for later")
    return messages


def decode_batch(body: str) -> Batch:
    """The batch in a message; its vectors are arrays of float32. Raises `InvalidMessage`."""
    try:
        content = zlib.decompress(base64.b64decode(body, validate=True))
        begin = _HEAD_LENGTH + int.from_bytes(content[:_HEAD_LENGTH])
        head = orjson.loads(content[_HEAD_LENGTH:begin])
        if head["form"] != _FORM:
            raise InvalidMessage(f"a message of the unknown form {head['form']!r}")
        return _batch(head, memoryview(content)[begin:])
    except (zlib.error, LookupError, TypeError, ValueError, OverflowError) as exc:
        raise InvalidMessage(f"not a message ({type(exc).__name__})") from exc


def _batch(head: dict[str, Any], packed: memoryview) -> Batch:
    size = _BYTES_PER_NUMBER * head["dimension"]
    if len(packed) != size * len(head["records"]):
        raise ValueError("vectors are missing")
    records = (
        VectorRecord(row[0], row[1], _little_endian(array("f", packed[size * i : size * (i + 1)].tobytes())), row[2])
        for i, row in enumerate(head["records"])
    )
    return Batch(head["base_name"], head["dimension"], head["space"], tuple(records))


def _packed(batch: Batch, rows: Sequence[tuple[VectorRecord, bytes]]) -> EncodedMessage:
    fields = {"form": _FORM, "base_name": batch.base_name, "dimension": batch.dimension, "space": batch.space}
    head = orjson.dumps(fields | {"records": [orjson.Fragment(row) for _, row in rows]})
    vectors = b"".join(_little_endian(array("f", record.vector)).tobytes() for record, _ in rows)
    content = zlib.compress(len(head).to_bytes(_HEAD_LENGTH) + head + vectors, _QUICK)
    return EncodedMessage(base64.b64encode(content).decode(), len(rows))


def _little_endian(numbers: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
