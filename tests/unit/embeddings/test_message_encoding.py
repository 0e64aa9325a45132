"""Batches encoded as messages of the queue."""

import base64
import zlib
from array import array

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.embeddings import Batch, Database, VectorRecord
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import (
    InvalidMessage,
    RecordTooLarge,
    decode_batch,
    encode_batch,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
METADATA = st.none() | st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda key: key.isprintable()),
    st.text(max_size=8)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=3,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    dimension = draw(st.integers(1, 8))
    ids = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=12, unique=True))
    records = tuple(
        VectorRecord(one, draw(TEXT), draw(st.lists(FLOATS, min_size=dimension, max_size=dimension)), draw(METADATA))
        for one in ids
    )
    database = draw(st.none() | st.builds(Database, TEXT, TEXT))
    return Batch("notes", dimension, "mini", records, database)


@given(batches(), st.integers(4_500, 6_000))
def test_decoding_returns_the_encoded_records_in_order(batch: Batch, max_bytes: int) -> None:
    messages = encode_batch(batch, max_bytes=max_bytes)
    batches = [decode_batch(message.body) for message in messages]
    assert {one.database for one in batches} == {batch.database}
    decoded = [record for one in batches for record in one.records]
    assert [(one.id, one.document, one.metadata or None) for one in decoded] == [
        (one.id, one.document, one.metadata or None) for one in batch.records
    ]
    assert [one.vector for one in decoded] == [array("f", one.vector) for one in batch.records]
    assert sum(message.records for message in messages) == len(batch.records)
    assert all(len(message.body) <= max_bytes for message in messages)


def test_a_message_is_ascii_for_any_text() -> None:
    batch = Batch("n", 1, "s", (VectorRecord("\x00￾", "\x01\x7f🎈", [1.0]),))
    (message,) = encode_batch(batch, max_bytes=5_000)
    assert message.body.isascii()
    assert decode_batch(message.body).records[0].document == "\x01\x7f🎈"


def test_a_repeated_id_is_encoded_once_with_its_last_record() -> None:
    batch = Batch("n", 1, "s", (VectorRecord("a", "old", [1.0]), VectorRecord("a", "new", [2.0])))
    (message,) = encode_batch(batch, max_bytes=5_000)
    assert [one.document for one in decode_batch(message.body).records] == ["new"]


def test_a_record_larger_than_a_message_is_refused() -> None:
    noise = base64.b64encode(bytes(range(256)) * 3)
    text = "".join(chr(0x4E00 + (i * 7919) % 20000) for i in range(4_000)) + noise.decode()
    with pytest.raises(RecordTooLarge):
        encode_batch(Batch("n", 1, "s", (VectorRecord("a", text, [1.0]),)), max_bytes=5_000)


def test_a_text_that_fits_after_compression_is_encoded() -> None:
    (message,) = encode_batch(Batch("n", 1, "s", (VectorRecord("a", "word " * 10_000, [1.0]),)), max_bytes=5_000)
    assert decode_batch(message.body).records[0].document == "word " * 10_000


def _of(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "aGVsbG8=",
        _of(b""),
        _of(b"\x00\x00\x00\x02{}"),
        _of(b"\x00\x00\x00\x0a" + b'{"form":9}'),
        encode_batch(Batch("n", 1, "s", (VectorRecord("a", "x", [1.0]),)), max_bytes=5_000)[0].body[:-8],
    ],
)
def test_an_invalid_body_raises_invalid_message(body: str) -> None:
    with pytest.raises(InvalidMessage):
        decode_batch(body)


def test_a_message_of_an_older_version_is_for_the_configured_database() -> None:
    body = (
        "eAEVyjEOgCAQBdE9y69ptKTxIGgM6ppQsBiWwoSQeDOvJpaTN0Q0V5wpR9jBYPPKq/jIsJBUWGFwhMiiIQnsaKCX33+NQULHzHvKh8I6B9+7"
        "8F1gKvo8tGVpRM9ERO8HgAgfWA=="
    )
    record = VectorRecord("a", "text", array("f", [1.0, -0.5]), {"n": 1})
    assert decode_batch(body) == Batch("notes", 2, "mini", (record,), None)


def test_a_message_for_another_database_has_a_format_that_older_versions_reject() -> None:
    record = (VectorRecord("a", "x", [1.0]),)
    for database, form in ((None, 1), (Database("team", "mine"), 2)):
        (message,) = encode_batch(Batch("n", 1, "s", record, database), max_bytes=5_000)
        content = zlib.decompress(base64.b64decode(message.body))
        assert orjson.loads(content[4 : 4 + int.from_bytes(content[:4])])["form"] == form
