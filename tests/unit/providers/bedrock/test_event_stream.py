"""The binary framing, compared with botocore's own decoder."""

import itertools
import zlib
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import example, given
from hypothesis import strategies as st

from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.bedrock.event_stream import (
    MAX_MESSAGE_BYTES,
    EventMessage,
    EventStreamDecoder,
    HeaderValue,
)
from sekha_llm_bridge.providers.bedrock.stream import ConverseStreamReader
from tests.fakes.bedrock import encode_message, text_delta
from tests.fakes.failures import raises_failure

names = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20)
values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20) | st.binary(max_size=20)
messages = st.lists(st.tuples(st.dictionaries(names, values, max_size=5), st.binary(max_size=60)), max_size=5)


def decoded(*parts: bytes) -> list[EventMessage]:
    decoder = EventStreamDecoder()
    return [message for part in parts for message in decoder.feed(part)]


def by_botocore(content: bytes) -> list[EventMessage]:
    buffer = EventStreamBuffer()
    buffer.add_data(content)
    found: Any = list(buffer)
    return [EventMessage(one.headers, one.payload) for one in found]


@given(messages, st.lists(st.integers(0, 1000), max_size=10))
def test_messages_are_those_that_botocore_finds_wherever_they_are_split(
    sent: list[tuple[dict[str, HeaderValue], bytes]], cuts: list[int]
) -> None:
    content = b"".join(encode_message(headers, payload) for headers, payload in sent)
    edges = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    parts = [content[start:end] for start, end in itertools.pairwise(edges)]
    assert decoded(*parts) == by_botocore(content) == [EventMessage(*one) for one in sent]


@example(b"", 0, ord("{"))
@given(st.binary(max_size=80), st.integers(0, 200), st.integers(1, 255))
def test_a_message_with_any_changed_byte_is_malformed_and_may_be_billed(payload: bytes, at: int, change: int) -> None:
    message = bytearray(encode_message({":event-type": "x"}, payload))
    message[at % len(message)] ^= change
    decoder = EventStreamDecoder()
    with raises_failure(FailureKind.MALFORMED_ANSWER) as caught:
        decoder.feed(bytes(message))
        if decoder.is_json:  # the first byte has become a brace
            ConverseStreamReader("m", {}, created=0).read_whole(decoder.rest)
    assert caught.value.failure.may_be_billed


def test_a_beginning_of_a_message_is_kept_until_its_end() -> None:
    message = text_delta("hi")
    decoder = EventStreamDecoder()
    assert [len(decoder.feed(message[n : n + 1])) for n in range(len(message))] == [*[0] * (len(message) - 1), 1]


def of_lengths(n_bytes: int, n_header_bytes: int, rest: bytes = b"") -> bytes:
    lengths = n_bytes.to_bytes(4) + n_header_bytes.to_bytes(4)
    message = lengths + zlib.crc32(lengths).to_bytes(4) + rest
    return message + zlib.crc32(message).to_bytes(4)


@pytest.mark.parametrize(
    "message",
    [
        of_lengths(MAX_MESSAGE_BYTES + 1, 0),
        of_lengths(16, 1),
        of_lengths(15, 0),
        of_lengths(19, 3, b"\x05ab"),
        of_lengths(20, 4, b"\x01a\x0a\x00"),
        of_lengths(21, 5, b"\x01a\x07\x00\x09"),
    ],
    ids=["too long", "headers longer than all", "shorter than its frame", "name cut", "unknown type", "value cut"],
)
def test_impossible_lengths_and_types_are_malformed(message: bytes) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        decoded(message)


def test_every_type_of_header_is_read_as_botocore_reads_it() -> None:
    headers = b"".join(
        bytes([1, 97 + kind, kind]) + value
        for kind, value in enumerate(
            [b"", b"", b"\xff", b"\xff\xfe", b"\x80\0\0\0", b"\xff" * 8, b"\0\x02ab", b"\0\x02\xc3\xa9", b"\1" * 8]
        )
    )
    message = of_lengths(16 + len(headers), len(headers), headers)
    assert decoded(message) == by_botocore(message)
    assert decoded(message)[0].headers == {
        "a": True,
        "b": False,
        "c": -1,
        "d": -2,
        "e": -(2**31),
        "f": -1,
        "g": b"ab",
        "h": "é",
        "i": 0x0101010101010101,
    }
