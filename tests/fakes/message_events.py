"""Checks a stream of Anthropic's events: their order by a state machine, and each by the types of Anthropic's client.

The order is that of platform.claude.com, "Streaming Messages": `message_start`; blocks, each with a start, deltas and a
stop, one after the other and numbered from 0; at least one `message_delta`; `message_stop`. A `ping` may come anywhere
after the first event. An `error` ends a stream at any place, and nothing follows it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

Event = dict[str, Any]

_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
}
_PING = {"type": "ping"}


class State(Enum):
    """Where a stream is. `WHOLE` and `CUT` are its ends."""

    BEFORE = auto()
    BETWEEN_BLOCKS = auto()
    IN_BLOCK = auto()
    ENDING = auto()
    WHOLE = auto()
    CUT = auto()


@dataclass
class CheckedStream:
    """What the events of a stream say. `message` is the message that a client makes of them."""

    state: State = State.BEFORE
    message: dict[str, Any] = field(default_factory=dict)
    ending: Event = field(default_factory=dict)
    error: dict[str, Any] | None = None
    n_pings: int = 0

    @property
    def is_whole(self) -> bool:
        return self.state is State.WHOLE

    @property
    def text(self) -> str:
        blocks = self.message.get("content", ())
        return "".join(block["text"] for block in blocks if block["type"] == "text")


def read_events(text: str) -> list[Event]:
    """Returns the events of a stream. Each has the name of its type; a comment is no event."""
    assert text.endswith("\n\n"), text[-200:]
    events = []
    for part in text[:-2].split("\n\n"):
        lines = [line for line in part.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        assert len(lines) == 2, part
        name, data = lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))
        assert (lines[0], lines[1][:6]) == (f"event: {data['type']}", "data: "), part
        assert name == data["type"]
        events.append(data)
    return events


def check_message_events(events: Iterable[Event]) -> CheckedStream:
    """Returns what the events say. Raises `AssertionError` where one of them may not come at its place, or where the
    stream ends before its end.
    """
    stream = CheckedStream()
    for event in events:
        _step(stream, event)
    assert stream.state in {State.WHOLE, State.CUT}, f"the stream ends {stream.state}"
    return stream


def _step(stream: CheckedStream, event: Event) -> None:
    assert stream.state not in {State.WHOLE, State.CUT}, f"{event} after the end"
    kind = event["type"]
    if kind == "error":
        assert event["error"]["type"], event
        assert event["error"]["message"], event
        stream.error, stream.state = event["error"], State.CUT
        return
    if kind == "ping":
        assert event == _PING, event
        assert stream.state is not State.BEFORE, "a ping before message_start"
        stream.n_pings += 1
        return
    _EVENTS.validate_python(event)
    content = stream.message.get("content", [])
    match stream.state, kind:
        case State.BEFORE, "message_start":
            stream.message = {**event["message"], "content": []}
            assert event["message"]["content"] == []
            assert event["message"]["stop_reason"] is None
            stream.state = State.BETWEEN_BLOCKS
        case State.BETWEEN_BLOCKS, "content_block_start":
            assert event["index"] == len(content), event
            content.append(dict(event["content_block"]))
            stream.state = State.IN_BLOCK
        case State.IN_BLOCK, "content_block_delta":
            assert event["index"] == len(content) - 1, event
            _add(content[-1], event["delta"])
        case State.IN_BLOCK, "content_block_stop":
            assert event["index"] == len(content) - 1, event
            _close(content[-1])
            stream.state = State.BETWEEN_BLOCKS
        case ((State.BETWEEN_BLOCKS | State.ENDING), "message_delta"):
            stream.message |= event["delta"]
            stream.message["usage"] = {**stream.message["usage"], **event["usage"]}
            stream.ending, stream.state = event, State.ENDING
        case State.ENDING, "message_stop":
            assert stream.message["stop_reason"] is not None
            stream.state = State.WHOLE
        case state, _:
            raise AssertionError(f"{kind} while the stream is {state}")


def _add(block: Event, delta: Event) -> None:
    assert delta["type"] in _DELTAS.get(block["type"], ()), f"{delta} in {block}"
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "citations_delta":
            block["citations"] = [*(block["citations"] or ()), delta["citation"]]
        case "thinking_delta":
            assert not block["signature"], "a thought goes on after its signature"
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] += delta["signature"]
        case "input_json_delta":
            block["partial"] = block.get("partial", "") + delta["partial_json"]


def _close(block: Event) -> None:
    """Reads the input of a call. It may be cut off where the answer ended at its limit: then it stays a text."""
    partial = block.pop("partial", "")
    if not partial:
        return
    try:
        block["input"] = json.loads(partial)
    except json.JSONDecodeError:
        block["input"] = partial
