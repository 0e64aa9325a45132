"""From the bytes of a streamed answer to its events, wherever the bytes were cut on their way.

Sources: WHATWG HTML, "Server-sent events", for OpenAI's format; NDJSON, one object a line, for Ollama's.
"""

import json
from typing import Any

import orjson

from sekha_llm_bridge.errors import FailureKind, ProviderError

_BOM = b"\xef\xbb\xbf"
_MAX_SAFE_BRACKETS = 200  # orjson writes 254 levels; what has fewer brackets needs no trying
_MAX_EVENT_BYTES = 16 * 1024 * 1024  # an image in a data URL may be one event


def parse_event(data: bytes) -> Any:
    """What an event says. Raises ValueError where it is no JSON, TypeError where it is too deeply nested to be written.

    Gateways in JavaScript may cut a text between the halves of a UTF-16 pair: a half is replaced by a mark.
    """
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        text = json.dumps(json.loads(data), ensure_ascii=False)
        said = orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    if data.count(b"[") + data.count(b"{") > _MAX_SAFE_BRACKETS:
        orjson.dumps(said)
    return said


class LineDecoder:
    """Puts lines together again. A carriage return at the end of a part may be half of a line's end, so it waits.

    To be fed `END` where a stream has ended as it should: some servers leave the last line's end out.
    """

    END = b"\n"

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._length = 0

    def feed(self, part: bytes) -> list[bytes]:
        """The lines that end in this part, without their ends. Raises `ProviderError` (MALFORMED_ANSWER) for one that
        never does."""
        is_after_return = bool(self._pending) and self._pending[-1].endswith(b"\r")
        self._pending.append(part)
        self._length += len(part)
        if self._length > _MAX_EVENT_BYTES:
            raise ProviderError(
                FailureKind.MALFORMED_ANSWER, "the provider's stream has an event without an end", provider_status=200
            )
        if not is_after_return and b"\n" not in part and b"\r" not in part:
            return []
        found = b"".join(self._pending).splitlines(keepends=True)
        self._pending = [] if found[-1].endswith(b"\n") else [found.pop()]
        self._length = sum(map(len, self._pending))
        return [line.rstrip(b"\r\n") for line in found]


class SSEDecoder:
    """Gives the data of each event; comments and names say nothing, and an event that no empty line ends is none.

    To be fed `END` where a stream has ended as it should: some servers leave the last empty line out.
    """

    END = b"\n\n"

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._data: list[bytes] = []
        self._length = 0

    def feed(self, part: bytes) -> list[bytes]:
        """The data of the events that end in this part. Raises `ProviderError` (MALFORMED_ANSWER)."""
        events: list[bytes] = []
        for line in self._lines.feed(part):
            if not line and self._data:
                events.append(b"\n".join(self._data))
                self._data, self._length = [], 0
            elif line.removeprefix(_BOM).startswith(b"data:"):
                self._add(line)
        return events

    def _add(self, line: bytes) -> None:
        self._data.append(line.partition(b":")[2].removeprefix(b" "))
        self._length += len(line)  # not of the data alone: lines without any take room, too
        if self._length > _MAX_EVENT_BYTES:
            raise ProviderError(
                FailureKind.MALFORMED_ANSWER, "the provider's stream has an event without an end", provider_status=200
            )
