"""Decodes the bytes of a streamed answer into its events, wherever the network has split them.

What a body is decides how it is decoded, not its Content-Type: servers and proxies label event streams as JSON and JSON
as event streams. Sources: WHATWG HTML, "Server-sent events", for OpenAI's format; NDJSON, one object per line, for
Ollama's.
"""

import json
from itertools import takewhile
from typing import Any

import orjson

from sekha_llm_bridge.providers.base import malformed_answer

DONE = b"[DONE]"
"""The data of the event that ends a stream in OpenAI's format."""

_BOM = b"\xef\xbb\xbf"
_MAX_SAFE_BRACKETS = 200  # orjson serialises 254 levels; data with fewer brackets cannot be nested too deeply
_MAX_EVENT_BYTES = 16 * 1024 * 1024  # an event may hold an image in a data URL


def parse_event(data: bytes) -> Any:
    """Returns the JSON value of an event, or of a whole body.

    Raises ValueError for invalid JSON, and TypeError for a value that is nested too deeply to be serialised again.
    Gateways may split a text inside a character: invalid UTF-8 and each half of a UTF-16 surrogate pair become U+FFFD.
    Servers in Python may write `NaN` or `-Infinity`, which JSON does not have: they become null.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            text = json.dumps(
                json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None), ensure_ascii=False
            )
        except RecursionError:
            raise ValueError("nested too deeply") from None
        value = orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    if data.count(b"[") + data.count(b"{") > _MAX_SAFE_BRACKETS:
        orjson.dumps(value)
    return value


def parse_events(content: bytes) -> list[Any]:
    """Returns the JSON values of the events of a complete body, up to `[DONE]`. Raises as `parse_event` does."""
    decoder = EventDecoder()
    events = [*decoder.feed(content), *decoder.finish()]
    return [parse_event(data) for data in takewhile(lambda data: data.strip() != DONE, events)]


class LineDecoder:
    """Joins the parts of a stream and splits them into lines.

    Feed `END` after the proper end of a stream: some servers omit the end of the last line.
    """

    END = b"\n"

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def feed(self, part: bytes) -> list[bytes]:
        """Returns the lines that end in this part, without their line ends.

        A carriage return at the end of a part is kept until the next one, which may begin with its line feed. Raises
        `ProviderError` (MALFORMED_ANSWER) for a line of more than 16 MiB.
        """
        has_pending_return = bool(self._pending) and self._pending[-1].endswith(b"\r")
        self._pending.append(part)
        self._pending_bytes += len(part)
        if self._pending_bytes > _MAX_EVENT_BYTES:
            raise malformed_answer("the provider's stream has an event without an end")
        if not has_pending_return and b"\n" not in part and b"\r" not in part:
            return []
        lines = b"".join(self._pending).splitlines(keepends=True)
        self._pending = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        self._pending_bytes = sum(map(len, self._pending))
        return [line.rstrip(b"\r\n") for line in lines]


class SSEDecoder:
    """Extracts the data of server-sent events. It ignores comments, other fields, and an event without an empty line
    after it.

    Feed `END` after the proper end of a stream: some servers omit the last empty line.
    """

    END = b"\n\n"

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, part: bytes) -> list[bytes]:
        """Returns the data of the events that end in this part.

        An event without data is ignored, as the specification says. Where a server sends only one line end between two
        events, each line of data that is a JSON object is an event. Raises `ProviderError` (MALFORMED_ANSWER) for an
        event of more than 16 MiB.
        """
        events: list[bytes] = []
        for line in self._lines.feed(part):
            if not line and self._data:
                if (event := self._end_event()).strip():
                    events.append(event)
            elif line.removeprefix(_BOM).startswith(b"data:"):
                if len(self._data) == 1 and _is_complete(self._data[0]):
                    events.append(self._end_event())
                self._data.append(line.partition(b":")[2].removeprefix(b" "))
                self._data_bytes += len(line)  # the whole line: empty data lines need memory, too
                if self._data_bytes > _MAX_EVENT_BYTES:
                    raise malformed_answer("the provider's stream has an event without an end")
        return events

    def finish(self) -> list[bytes]:
        """Returns the event that ends with the stream: some servers omit the last empty line."""
        return self.feed(self.END)

    def _end_event(self) -> bytes:
        data, self._data, self._data_bytes = b"\n".join(self._data), [], 0
        return data


def _is_complete(data: bytes) -> bool:
    """Returns whether a line of data is an event by itself."""
    if not (data.startswith(b"{") and data.endswith(b"}")):
        return data == DONE
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


class _JsonLines:
    """Splits a body that begins as JSON: one object per line, or one value over several lines."""

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._value: list[bytes] = []  # the lines of one value
        self._value_bytes = 0

    def feed(self, part: bytes) -> list[bytes]:
        events = []
        for line in self._lines.feed(part):
            if self._value or (line and not (line.startswith(b"{") and line.rstrip().endswith(b"}"))):
                self._value.append(line)
                self._value_bytes += len(line)
                if self._value_bytes > _MAX_EVENT_BYTES:
                    raise malformed_answer("the provider's answer is too large")
            elif line:
                events.append(line)
        return events

    def finish(self) -> list[bytes]:
        events = self.feed(LineDecoder.END)
        return [*events, b"\n".join(self._value)] if self._value else events


def _is_keep_alive(data: bytes) -> bool:
    """Returns whether the data of an event says nothing: an empty JSON text, or a comment (Vertex AI)."""
    text = data.strip()
    return text == b'""' or text.startswith(b":")


class EventDecoder:
    """Decodes a stream of any framing: server-sent events, one JSON object per line, or one JSON value.

    Ignores keep-alives that are sent as data.
    """

    def __init__(self) -> None:
        self._decoder: SSEDecoder | _JsonLines | None = None
        self._n_events = 0

    @property
    def has_single_value(self) -> bool:
        """Whether the stream, which has ended, was one JSON value: a whole answer where a stream was requested."""
        return isinstance(self._decoder, _JsonLines) and self._n_events == 1

    def feed(self, part: bytes) -> list[bytes]:
        """Returns the data of the events that end in this part. Raises `ProviderError` (MALFORMED_ANSWER)."""
        if self._decoder is None:
            part = part.removeprefix(_BOM).lstrip()
            if not part:
                return []
            self._decoder = _JsonLines() if part[:1] in b"{[" else SSEDecoder()
        events = [data for data in self._decoder.feed(part) if not _is_keep_alive(data)]
        self._n_events += len(events)
        return events

    def finish(self) -> list[bytes]:
        """Returns the events that end with the stream: some servers omit the end of the last line."""
        events = self._decoder.finish() if self._decoder is not None else []
        self._n_events += len(events)
        return events
