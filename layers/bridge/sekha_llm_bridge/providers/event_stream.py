"""Decodes the bytes of a streamed answer into its events, wherever the network has split them.

Sources: WHATWG HTML, "Server-sent events", for OpenAI's format; NDJSON, one object per line, for Ollama's.
"""

import json
from typing import Any

import orjson

from sekha_llm_bridge.providers.base import malformed_answer

_BOM = b"\xef\xbb\xbf"
_MAX_SAFE_BRACKETS = 200  # orjson serialises 254 levels; data with fewer brackets cannot be nested too deeply
_MAX_EVENT_BYTES = 16 * 1024 * 1024  # an event may hold an image in a data URL


def parse_event(data: bytes) -> Any:
    """Returns the JSON value of an event.

    Raises ValueError for invalid JSON, and TypeError for a value that is nested too deeply to be serialised again.
    Gateways in JavaScript may split a text inside a UTF-16 surrogate pair: each half becomes U+FFFD.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        text = json.dumps(json.loads(data), ensure_ascii=False)
        value = orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    if data.count(b"[") + data.count(b"{") > _MAX_SAFE_BRACKETS:
        orjson.dumps(value)
    return value


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

        Raises `ProviderError` (MALFORMED_ANSWER) for an event of more than 16 MiB.
        """
        events: list[bytes] = []
        for line in self._lines.feed(part):
            if not line and self._data:
                events.append(b"\n".join(self._data))
                self._data, self._data_bytes = [], 0
            elif line.removeprefix(_BOM).startswith(b"data:"):
                self._data.append(line.partition(b":")[2].removeprefix(b" "))
                self._data_bytes += len(line)  # the whole line: empty data lines need memory, too
                if self._data_bytes > _MAX_EVENT_BYTES:
                    raise malformed_answer("the provider's stream has an event without an end")
        return events
