"""A streamed chat, from the bytes of its events: the texts one by one, and the whole reply at the end. No I/O.

The bytes are split into events here, because httpx splits lines at characters such as U+2028, which JSON contains as
they are. Source of the format: WHATWG HTML, "Server-sent events"; OpenAI ends a stream with `data: [DONE]`.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from sekha_llm_bridge.client.chat import ChatReply, chat_reply
from sekha_llm_bridge.client.errors import NotABridge, StreamNotFinished, error_of
from sekha_llm_bridge.errors import BridgeError, StreamInterrupted

_DONE = "[DONE]"
_SENT_WHOLE = frozenset({"role", "id", "type", "name", "format", "signature", "data"})
_FAULTS_OF_FOREIGN_JSON = (LookupError, TypeError, ValueError, AttributeError)


class StreamedChat:
    """One streamed answer, as far as it has arrived.

    It ends in one of two ways: `[DONE]` makes it complete, and everything else is an error, which is raised after the
    texts that came before it.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._events = EventLines()
        self._texts: deque[str] = deque()
        self._assembled = _AssembledAnswer()
        self._error: BridgeError | None = None
        self.is_complete = False

    @property
    def text(self) -> str:
        """The text that has arrived."""
        return self._assembled.text

    def receive(self, part: bytes) -> None:
        """Takes the next bytes, wherever the network has split them."""
        for data in self._events.feed(part):
            if self.is_complete or self._error is not None:
                return
            self._receive_event(data)

    def end(self, cause: str = "the connection was closed") -> None:
        """Takes the end of the bytes. Before `[DONE]` it is an error, which names the cause."""
        if not self.is_complete and self._error is None:
            self._fail(StreamInterrupted(f"the answer is not complete: {cause} before its end"))

    def next_text(self) -> str | None:
        """Returns the next text; None where more bytes are needed, or none will follow. Raises the error that ended the
        answer.
        """
        if self._texts:
            return self._texts.popleft()
        if self._error is not None:
            raise self._error
        return None

    def reply(self) -> ChatReply:
        """Returns the whole reply. Raises the error that ended the answer, or `StreamNotFinished`."""
        if self._error is not None:
            raise self._error
        if not self.is_complete:
            raise StreamNotFinished("the reply is known at the end of the stream: read all of its texts first")
        try:
            return chat_reply(self._assembled.document(), self._headers.get("x-request-id"))
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            raise NotABridge("the stream had other fields than a bridge sends: is base_url right?") from exc

    def _receive_event(self, data: str) -> None:
        if data == _DONE:
            self.is_complete = True
            return
        try:
            chunk = json.loads(data)
            if "error" in chunk:
                self._fail(error_of(chunk, status=0, headers=self._headers))
            elif text := self._assembled.add(chunk):
                self._texts.append(text)
        except _FAULTS_OF_FOREIGN_JSON:
            self._fail(StreamInterrupted("the answer is not complete: an event of the stream cannot be read"))

    def _fail(self, error: BridgeError) -> None:
        error.request_id = error.request_id or self._headers.get("x-request-id")
        self._error = error


class EventLines:
    """Splits bytes into the data of events. Comments and other fields than `data` are ignored."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, part: bytes) -> Iterator[str]:
        """Yields the data of the events that end in this part."""
        lines = (self._rest + part).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            text = line.removesuffix(b"\r").decode("utf-8", "replace")
            if text.startswith("data:"):
                self._data.append(text[5:].removeprefix(" "))
            elif not text and self._data:
                yield "\n".join(self._data)
                self._data = []


class _AssembledAnswer:
    """The chunks of an answer, put together in the format of one that was not streamed."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._message: dict[str, Any] = {"role": "assistant"}
        self._fields: dict[str, Any] = {}
        self._choice: dict[str, Any] = {"index": 0}

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Adds a chunk, and returns the text that it brings to the first choice."""
        self._fields |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        choice = next((one for one in chunk["choices"] if one.get("index", 0) == 0), None)
        if choice is None:
            return ""
        delta = dict(choice.get("delta") or {})
        self._choice |= {name: value for name, value in choice.items() if name != "delta" and value is not None}
        text: str = delta.pop("content", None) or ""
        self._texts.append(text)
        merge(self._message, delta)
        return text

    def document(self) -> dict[str, Any]:
        """Returns the answer, whose only choice is the first."""
        message = {**self._message, "content": self.text}
        if calls := message.get("tool_calls"):
            message["content"] = self.text or None
            message["tool_calls"] = [{name: part for name, part in call.items() if name != "index"} for call in calls]
        choice = {"finish_reason": None, **self._choice, "message": message}
        return {**self._fields, "object": "chat.completion", "choices": [choice]}


def merge(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Adds the fields of a delta to a message: texts are appended, and so are lists, whose items are merged where they
    have the same `index`. Names and the like are sent whole, some of them in every delta.
    """
    for name, new in delta.items():
        old = message.get(name)
        if isinstance(old, str) and isinstance(new, str) and name not in _SENT_WHOLE:
            message[name] = old + new
        elif isinstance(old, dict) and isinstance(new, dict):
            merge(old, new)
        elif isinstance(new, list):
            _merge_list(message.setdefault(name, []), new)
        elif new is not None and (new != "" or old is None):
            message[name] = dict(new) if isinstance(new, dict) else new


def _merge_list(old: list[Any], new: list[Any]) -> None:
    for item in new:
        index = item.get("index") if isinstance(item, dict) else None
        same = next((one for one in old if index is not None and one.get("index") == index), None)
        if same is None:
            old.append(dict(item) if isinstance(item, dict) else item)
        else:
            merge(same, item)
