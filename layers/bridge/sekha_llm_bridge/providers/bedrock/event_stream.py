"""Decodes `application/vnd.amazon.eventstream`, ConverseStream's binary framing, wherever the network has split it.

A message has a prelude (its length, the length of its headers, and a checksum of both), headers, a payload and a
checksum of all of it. Source: Smithy, "Amazon Event Stream Specification".
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sekha_llm_bridge.providers.base import malformed_answer

MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_MAX_JSON_HEAD_BYTES = 64
_PRELUDE_BYTES = 12
_CHECKSUM_BYTES = 4
_OVERHEAD_BYTES = _PRELUDE_BYTES + _CHECKSUM_BYTES
# The size of the values of each header type; None: the value has its length before it. The types are true, false, byte,
# short, integer, long, bytes, text, timestamp (milliseconds) and UUID.
_VALUE_BYTES = (0, 0, 1, 2, 4, 8, None, None, 8, 16)
_TRUE, _FALSE, _TEXT = 0, 1, 7
_INTEGERS = frozenset({2, 3, 4, 5, 8})

HeaderValue = bool | int | bytes | str


class EventMessage(NamedTuple):
    """One message. `headers` have lower-case names such as `:event-type`."""

    headers: Mapping[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """Returns a header that is a text; empty where the message has none."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class EventStreamDecoder:
    """Joins the parts of a stream and splits them into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._has_message = False

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON: a whole answer where a stream was requested.

        A message begins with its length, so its first byte is at most 1.
        """
        head = bytes(self._pending[:_MAX_JSON_HEAD_BYTES]).removeprefix(_BOM).lstrip()
        return not self._has_message and head.startswith(b"{")

    @property
    def rest(self) -> bytes:
        """What was received after the last complete message; the whole body where it is JSON."""
        return bytes(self._pending).removeprefix(_BOM)

    def feed(self, part: bytes) -> list[EventMessage]:
        """Returns the messages that end in this part.

        Raises `ProviderError` (MALFORMED_ANSWER) for a wrong checksum, for lengths that contradict each other and for a
        message of more than 16 MiB.
        """
        self._pending += part
        if not self.is_json:
            return list(self._messages())
        if len(self._pending) > MAX_MESSAGE_BYTES:
            raise malformed_answer("the provider's answer is too large")
        return []

    def _messages(self) -> Iterator[EventMessage]:
        while len(self._pending) >= _PRELUDE_BYTES:
            n_bytes, n_header_bytes = _lengths(self._pending)
            if len(self._pending) < n_bytes:
                return
            message = bytes(self._pending[:n_bytes])
            del self._pending[:n_bytes]
            self._has_message = True
            _check(message[:-_CHECKSUM_BYTES], message[-_CHECKSUM_BYTES:])
            end = _PRELUDE_BYTES + n_header_bytes
            yield EventMessage(dict(_headers(message[_PRELUDE_BYTES:end])), message[end:-_CHECKSUM_BYTES])


def _lengths(pending: bytearray) -> tuple[int, int]:
    """Returns the length of the next message and that of its headers. Its prelude is complete."""
    _check(pending[:8], pending[8:_PRELUDE_BYTES])
    n_bytes, n_header_bytes = int.from_bytes(pending[:4]), int.from_bytes(pending[4:8])
    if n_bytes > MAX_MESSAGE_BYTES or n_header_bytes + _OVERHEAD_BYTES > n_bytes:
        raise malformed_answer("the provider's stream has a message of an impossible length")
    return n_bytes, n_header_bytes


def _check(content: bytes | bytearray, checksum: bytes | bytearray) -> None:
    if zlib.crc32(content) != int.from_bytes(checksum):
        raise malformed_answer("the provider's stream has a message with a wrong checksum: it was changed on its way")


def _headers(content: bytes) -> Iterator[tuple[str, HeaderValue]]:
    reader = _Reader(content)
    while not reader.is_at_end:
        name = reader.take(reader.integer(1)).decode("utf-8", "replace")
        yield name, _value(reader, reader.integer(1))


def _value(reader: "_Reader", kind: int) -> HeaderValue:
    if kind >= len(_VALUE_BYTES):
        raise malformed_answer("the provider's stream has a header of an unknown type")
    if kind in {_TRUE, _FALSE}:
        return kind == _TRUE
    size = _VALUE_BYTES[kind]
    value = reader.take(reader.integer(2) if size is None else size)
    if kind in _INTEGERS:
        return int.from_bytes(value, signed=True)
    return value.decode("utf-8", "replace") if kind == _TEXT else value


class _Reader:
    """Reads the bytes of the headers one after another."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    @property
    def is_at_end(self) -> bool:
        return self._position >= len(self._content)

    def take(self, n_bytes: int) -> bytes:
        """Returns the next bytes. Raises `ProviderError` (MALFORMED_ANSWER) where there are fewer."""
        taken = self._content[self._position : self._position + n_bytes]
        if len(taken) < n_bytes:
            raise malformed_answer("the provider's stream has a header of an impossible length")
        self._position += n_bytes
        return taken

    def integer(self, n_bytes: int) -> int:
        """Returns the next bytes as an unsigned number."""
        return int.from_bytes(self.take(n_bytes))
