"""Decoded events do not depend on where the network splits the stream, and an event without an end is rejected."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.event_stream import LineDecoder, SSEDecoder, parse_event
from tests.fakes.failures import raises_failure

BOM = b"\xef\xbb\xbf"
LINE_ENDS = [b"\n", b"\r\n", b"\r"]
IGNORED_LINES = [b": ping", b":", b"event: message", b"id: 7", b"retry: 100", b"data", b"database: x", b"Data: x"]
MAX_EVENT_BYTES = 16 * 1024 * 1024

# Characters of one to four bytes, and characters that other formats treat as line ends.
texts = st.text(st.sampled_from("a \t:é☃🎉\u2028\x0b\x0c\x85\ufeff"), max_size=6).map(str.encode)


@dataclass(frozen=True)
class EncodedStream:
    """A stream, and the data of its events."""

    stream: bytes
    events: list[bytes]


@st.composite
def encoded_streams(draw: st.DrawFn) -> EncodedStream:
    """Events of one or more lines between ignored lines, with the same line end throughout."""
    end = draw(st.sampled_from(LINE_ENDS))
    lines: list[bytes] = []
    events: list[bytes] = []
    for data in draw(st.lists(st.lists(texts, min_size=1, max_size=3), max_size=4)):
        lines += draw(st.lists(st.sampled_from([*IGNORED_LINES, b""]), max_size=2))
        for line in data:
            colon = b"data: " if line.startswith(b" ") else draw(st.sampled_from([b"data: ", b"data:"]))
            lines += [colon + line, *draw(st.lists(st.sampled_from(IGNORED_LINES), max_size=1))]
        lines.append(b"")
        events += [b"\n".join(data)] if b"".join(data).strip() else []
    lines.append(b": the end")  # a carriage return ends a line only once another byte than \n follows
    return EncodedStream(draw(st.sampled_from([b"", BOM])) + b"".join(line + end for line in lines), events)


@st.composite
def split(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream in parts, some of which are empty."""
    at = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:stop] for start, stop in pairwise([0, *at, len(stream)])]


def events_of(parts: Iterable[bytes]) -> list[bytes]:
    reader = SSEDecoder()
    return [event for part in parts for event in reader.feed(part)]


def lines_of(parts: Iterable[bytes]) -> list[bytes]:
    reader = LineDecoder()
    return [line for part in parts for line in reader.feed(part)]


def bytewise(stream: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in stream]


@given(encoded_streams(), st.data())
def test_the_events_of_a_stream_do_not_depend_on_where_it_is_split(sent: EncodedStream, data: st.DataObject) -> None:
    assert events_of(data.draw(split(sent.stream))) == sent.events


@given(encoded_streams())
@example(EncodedStream(BOM + "data: ☃🎉\r\n\r\ndata: é\r\ndata: x\r\n\r\n".encode(), ["☃🎉".encode(), "é\nx".encode()]))
def test_a_stream_that_arrives_byte_by_byte_has_the_same_events(sent: EncodedStream) -> None:
    assert events_of(bytewise(sent.stream)) == sent.events


anything = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"data:", b"data: ", BOM, b":", b"x", "é".encode(), b"\x00\xff"]),
    max_size=24,
).map(b"".join)


@given(anything, st.data())
@example(b"data: x\r\rdata: y", None).via("a carriage return at the end of a part, and no other line end after it")
def test_any_split_of_any_bytes_has_the_same_events(stream: bytes, data: st.DataObject | None) -> None:
    parts = bytewise(stream) if data is None else data.draw(split(stream))
    assert events_of(parts) == events_of([stream])


@given(anything, st.data())
def test_any_split_of_any_bytes_has_the_same_lines(stream: bytes, data: st.DataObject) -> None:
    assert lines_of(data.draw(split(stream))) == lines_of([stream])


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: x\n\n", [b"x"]),
        (b"data:x\n\n", [b"x"]),
        (b"data:  x \n\n", [b" x "]),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"data: x\ndata: y\n\n", [b"x\ny"]),
        (b"data: x\n: ping\ndata: y\n\n", [b"x\ny"]),
        (b"event: delta\nid: 1\nretry: 5\ndata: x\n\n", [b"x"]),
        (b": ping\n\n\n\nevent: nothing\n\ndata: x\n\n", [b"x"]),
        (b"data:\n\n", []),
        (b"data: \n\ndata: x\n\n", [b"x"]),
        (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
        (b'data: {"a":\ndata: 1}\n\n', [b'{"a":\n1}']),
        (b"data: x\n\ndata: y\r\n\r\ndata: z\n\r\n", [b"x", b"y", b"z"]),
        (BOM + b"data: x\n\n", [b"x"]),
        (b"data: x\n", []),
        (b"data: x\n\ndata: unfinished", [b"x"]),
        (b"<html>\n\n</html>\n\n", []),
        (b'{"a": "data: x"}\n\n', []),
        (b"", []),
    ],
    ids=str,
)
def test_each_event_that_ends_with_an_empty_line_is_decoded(stream: bytes, events: list[bytes]) -> None:
    assert events_of([stream]) == events


def test_an_event_is_returned_with_its_last_byte() -> None:
    reader = SSEDecoder()
    assert [reader.feed(part) for part in (b"data: x", b"\n", b"\n", b"data: y\n\nda")] == [[], [], [b"x"], [b"y"]]


def test_a_line_is_returned_with_its_last_byte() -> None:
    reader = LineDecoder()
    assert [reader.feed(part) for part in (b"x", b"\r", b"\n", b"y\nz")] == [[], [], [b"x"], [b"y"]]


def test_lines_end_only_with_carriage_return_or_line_feed() -> None:
    line = "a\x0bb\x0cc\x1cd\x85e\u2028f".encode()
    assert lines_of([line + b"\n"]) == [line]


WITHOUT_END: dict[str, tuple[Callable[[], LineDecoder | SSEDecoder], bytes]] = {
    "a line": (LineDecoder, b"x" * 2**20),
    "an event's line": (SSEDecoder, b"data: " + b"x" * 2**20),
    "a comment": (SSEDecoder, b":" * 2**20),
    "an event's many lines": (SSEDecoder, b"data: " + b"x" * 2**20 + b"\n"),
    "an event's short lines": (SSEDecoder, b"data: xyz\n" * 2**17),
    "an event's empty lines": (SSEDecoder, b"data:\n" * 2**18),
}


@pytest.mark.parametrize(("kind", "part"), WITHOUT_END.values(), ids=WITHOUT_END)
def test_an_event_without_an_end_is_malformed_before_it_fills_the_memory(
    kind: Callable[[], LineDecoder | SSEDecoder], part: bytes
) -> None:
    reader, times = kind(), MAX_EVENT_BYTES * 5 // 4 // len(part)
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="without an end"):
        deque((reader.feed(part) for _ in range(times)), maxlen=0)


def test_an_event_may_be_as_large_as_an_image() -> None:
    image = b"x" * (MAX_EVENT_BYTES - 2**20)
    assert events_of([b"data: ", *[image[i : i + 2**16] for i in range(0, len(image), 2**16)], b"\n\n"]) == [image]


@pytest.mark.parametrize("kind", [LineDecoder, SSEDecoder])
def test_a_stream_may_be_longer_than_any_one_of_its_events(kind: Callable[[], LineDecoder | SSEDecoder]) -> None:
    reader, event = kind(), b"data: " + b"x" * 2**20 + b"\n\n"
    assert [len(reader.feed(event)) for _ in range(20)] == [len(kind().feed(event))] * 20


@pytest.mark.parametrize("levels", [260, 900])
def test_an_event_nested_too_deeply_to_be_serialised_is_rejected(levels: int) -> None:
    with pytest.raises(TypeError):
        parse_event(b'{"x":' + b"[" * levels + b"]" * levels + b"}")


def test_many_brackets_at_one_level_are_accepted() -> None:
    assert parse_event(b"[" + b"[],{}," * 500 + b"[]]") == [[], {}] * 500 + [[]]
