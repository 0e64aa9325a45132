"""Events come out the same however their bytes were cut on the way, and an event without an end is not waited for."""

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
NOISE = [b": ping", b":", b"event: message", b"id: 7", b"retry: 100", b"data", b"database: x", b"Data: x"]
MAX_EVENT_BYTES = 16 * 1024 * 1024

# Letters of one to four bytes, and what other formats take for a line's end.
texts = st.text(st.sampled_from("a \t:é☃🎉\u2028\x0b\x0c\x85\ufeff"), max_size=6).map(str.encode)


@dataclass(frozen=True)
class Said:
    """A stream, and the data of the events that it holds."""

    stream: bytes
    events: list[bytes]


@st.composite
def said(draw: st.DrawFn) -> Said:
    """Events of one or several lines among things that say nothing, with one kind of line's end throughout."""
    end = draw(st.sampled_from(LINE_ENDS))
    lines: list[bytes] = []
    events: list[bytes] = []
    for data in draw(st.lists(st.lists(texts, min_size=1, max_size=3), max_size=4)):
        lines += draw(st.lists(st.sampled_from([*NOISE, b""]), max_size=2))
        for line in data:
            colon = b"data: " if line.startswith(b" ") else draw(st.sampled_from([b"data: ", b"data:"]))
            lines += [colon + line, *draw(st.lists(st.sampled_from(NOISE), max_size=1))]
        lines.append(b"")
        events.append(b"\n".join(data))
    lines.append(b": the end")  # a carriage return is a line's end only when something else than \n follows
    return Said(draw(st.sampled_from([b"", BOM])) + b"".join(line + end for line in lines), events)


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream in parts, some of them empty."""
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


@given(said(), st.data())
def test_any_cut_of_a_stream_gives_the_events_that_were_sent(sent: Said, data: st.DataObject) -> None:
    assert events_of(data.draw(cut(sent.stream))) == sent.events


@given(said())
@example(Said(BOM + "data: ☃🎉\r\n\r\ndata: é\r\ndata: x\r\n\r\n".encode(), ["☃🎉".encode(), "é\nx".encode()]))
def test_a_stream_that_comes_byte_by_byte_gives_the_events_that_were_sent(sent: Said) -> None:
    assert events_of(bytewise(sent.stream)) == sent.events


anything = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"data:", b"data: ", BOM, b":", b"x", "é".encode(), b"\x00\xff"]),
    max_size=24,
).map(b"".join)


@given(anything, st.data())
@example(b"data: x\r\rdata: y", None).via("a carriage return at a part's end, and no other line's end after it")
def test_any_cut_of_any_bytes_gives_the_same_events(stream: bytes, data: st.DataObject | None) -> None:
    parts = bytewise(stream) if data is None else data.draw(cut(stream))
    assert events_of(parts) == events_of([stream])


@given(anything, st.data())
def test_any_cut_of_any_bytes_gives_the_same_lines(stream: bytes, data: st.DataObject) -> None:
    assert lines_of(data.draw(cut(stream))) == lines_of([stream])


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
        (b"data:\n\n", [b""]),
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
def test_the_data_of_each_event_that_an_empty_line_ends_is_read(stream: bytes, events: list[bytes]) -> None:
    assert events_of([stream]) == events


def test_an_event_is_given_as_soon_as_its_last_byte_is_there() -> None:
    reader = SSEDecoder()
    assert [reader.feed(part) for part in (b"data: x", b"\n", b"\n", b"data: y\n\nda")] == [[], [], [b"x"], [b"y"]]


def test_a_line_is_given_as_soon_as_its_last_byte_is_there() -> None:
    reader = LineDecoder()
    assert [reader.feed(part) for part in (b"x", b"\r", b"\n", b"y\nz")] == [[], [], [b"x"], [b"y"]]


def test_lines_end_only_where_the_formats_say_so() -> None:
    line = "a\x0bb\x0cc\x1cd\x85e\u2028f".encode()
    assert lines_of([line + b"\n"]) == [line]


ENDLESS: dict[str, tuple[Callable[[], LineDecoder | SSEDecoder], bytes]] = {
    "a line": (LineDecoder, b"x" * 2**20),
    "an event's line": (SSEDecoder, b"data: " + b"x" * 2**20),
    "a comment": (SSEDecoder, b":" * 2**20),
    "an event's many lines": (SSEDecoder, b"data: " + b"x" * 2**20 + b"\n"),
    "an event's short lines": (SSEDecoder, b"data: xyz\n" * 2**17),
    "an event's empty lines": (SSEDecoder, b"data:\n" * 2**18),
}


@pytest.mark.parametrize(("kind", "part"), ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_malformed_before_it_fills_the_memory(
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
def test_what_is_nested_deeper_than_can_be_passed_on_is_no_event(levels: int) -> None:
    with pytest.raises(TypeError):
        parse_event(b'{"x":' + b"[" * levels + b"]" * levels + b"}")


def test_many_brackets_are_not_yet_deep() -> None:
    assert parse_event(b"[" + b"[],{}," * 500 + b"[]]") == [[], {}] * 500 + [[]]
