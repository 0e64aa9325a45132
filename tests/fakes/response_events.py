"""The published order of the events of a response, as a state machine.

Source: OpenAI's API reference, "Responses", "Streaming events": a response is created, then in progress, then it ends
in one way. Within it, each item is added and done, and so is each of its parts; what is added to a part or a call comes
between, and its `done` event has all of it. Several items may be open at a time. An `error` precedes a failure.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

Event = dict[str, Any]

ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
_PARTS_OF_TEXT = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text", "summary_text": "text"}
_EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def parse_response_events(text: str) -> list[Event]:
    """The events of a stream. Pings are left out; each event has its type as its name, as OpenAI sends it."""
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}", block
        events.append(event)
    return events


def check_response_events(events: list[Event]) -> Event:
    """Checks the events of one whole stream, and returns the response in the last one."""
    stream = _Stream()
    for number, event in enumerate(events):
        assert event["sequence_number"] == number, event
        _EVENTS.validate_python(event, strict=True)
        stream.take(event)
    assert stream.ended is not None, "the stream has no end"
    return stream.ended


@dataclass
class _Part:
    """A part of an item: its texts so far, and whether its text and the part itself are done."""

    kind: str
    text: str = ""
    annotations: list[Event] = field(default_factory=list)
    logprobs: list[Event] = field(default_factory=list)
    is_text_done: bool = False
    is_done: bool = False


@dataclass
class _Item:
    """An item as it was added: its parts by their kind of index, and the arguments of a call."""

    added: Event
    content: list[_Part] = field(default_factory=list)
    summary: list[_Part] = field(default_factory=list)
    arguments: str = ""
    are_arguments_done: bool = False
    done: Event | None = None


class _Stream:
    def __init__(self) -> None:
        self.created: Event | None = None
        self.is_in_progress = False
        self.ended: Event | None = None
        self.error: Event | None = None
        self.items: list[_Item] = []

    def take(self, event: Event) -> None:
        kind = event["type"]
        assert self.ended is None, f"{kind} follows the end"
        if kind == "response.created":
            assert self.created is None
            self.created = self.response(event, "in_progress")
            assert self.created["output"] == []
            return
        assert self.created is not None, f"{kind} precedes response.created"
        if kind == "response.in_progress":
            assert not self.is_in_progress
            self.is_in_progress = True
            assert self.response(event, "in_progress") == self.created
            return
        assert self.is_in_progress, f"{kind} precedes response.in_progress"
        if self.error is not None:
            assert kind == "response.failed", f"{kind} follows an error"
        if kind in ENDS:
            self.end(event)
        elif kind == "error":
            self.error = event
        elif kind == "response.output_item.added":
            self.add_item(event)
        elif kind == "response.output_item.done":
            self.end_item(event)
        else:
            item = self.open_item(event)
            name, _, what = kind.removeprefix("response.").rpartition(".")
            if name in {"function_call_arguments", "custom_tool_call_input"}:
                self.call(item, name, what, event)
            else:
                self.part(item, name, what, event)

    def response(self, event: Event, status: str) -> Event:
        response: Event = event["response"]
        Response.model_validate(response, strict=True)
        assert response["status"] == status
        if self.created is not None:
            assert {name: response[name] for name in ("id", "created_at", "tools", "model")} == {
                name: self.created[name] for name in ("id", "created_at", "tools", "model")
            }
        return response

    def add_item(self, event: Event) -> None:
        item = event["item"]
        assert event["output_index"] == len(self.items)
        assert item["id"] not in {one.added["id"] for one in self.items}
        assert item.get("status", "in_progress") == "in_progress"
        assert not any(item.get(name) for name in ("content", "summary", "arguments", "input"))
        self.items.append(_Item(item))

    def open_item(self, event: Event) -> _Item:
        item = self.items[event["output_index"]]
        assert item.done is None, f"{event['type']} follows the end of its item"
        assert event["item_id"] == item.added["id"]
        return item

    def call(self, item: _Item, name: str, kind: str, event: Event) -> None:
        assert item.added["type"] == ("function_call" if name == "function_call_arguments" else "custom_tool_call")
        assert not item.are_arguments_done
        if kind == "delta":
            assert event["delta"]
            item.arguments += event["delta"]
            return
        item.are_arguments_done = True
        if name == "function_call_arguments":
            assert event["name"] == item.added["name"]
        assert event["arguments" if name == "function_call_arguments" else "input"] == item.arguments

    def part(self, item: _Item, name: str, kind: str, event: Event) -> None:
        is_summary = name.startswith("reasoning_summary")
        parts = item.summary if is_summary else item.content
        index = event["summary_index" if is_summary else "content_index"]
        if name in {"content_part", "reasoning_summary_part"} and kind == "added":
            assert index == len(parts)
            assert all(part.is_done for part in parts), "a part begins before the last one has ended"
            assert not event["part"][_PARTS_OF_TEXT[event["part"]["type"]]]
            parts.append(_Part(event["part"]["type"]))
            return
        part = parts[index]
        assert index == len(parts) - 1
        assert not part.is_done
        text_field = _PARTS_OF_TEXT[part.kind]
        if name in {"content_part", "reasoning_summary_part"}:
            assert part.is_text_done
            part.is_done = True
            assert event["part"] == self.whole_part(part)
            return
        assert not part.is_text_done
        if name == "output_text.annotation":
            assert event["annotation_index"] == len(part.annotations)
            part.annotations.append(event["annotation"])
            return
        assert name == {"summary_text": "reasoning_summary_text"}.get(part.kind, part.kind)
        if kind == "delta":
            assert event["delta"]
            part.text += event["delta"]
            part.logprobs += event.get("logprobs", [])
        else:
            part.is_text_done = True
            assert event[text_field] == part.text
            assert event.get("logprobs", []) == part.logprobs

    def whole_part(self, part: _Part) -> Event:
        whole: Event = {"type": part.kind, _PARTS_OF_TEXT[part.kind]: part.text}
        if part.kind == "output_text":
            whole |= {"annotations": part.annotations, "logprobs": part.logprobs}
        return whole

    def end_item(self, event: Event) -> None:
        item, done = self.items[event["output_index"]], event["item"]
        assert item.done is None
        assert all(part.is_done for part in (*item.content, *item.summary))
        item.done = done
        assert {name: done[name] for name in ("id", "type")} == {name: item.added[name] for name in ("id", "type")}
        assert done.get("status", "completed") in {"completed", "incomplete"}
        match done["type"]:
            case "message":
                assert done["content"] == [self.whole_part(part) for part in item.content]
            case "reasoning":
                assert done["summary"] == [self.whole_part(part) for part in item.summary]
                assert done.get("content", []) == [self.whole_part(part) for part in item.content]
            case "function_call" | "custom_tool_call":
                assert item.are_arguments_done
                assert done["arguments" if done["type"] == "function_call" else "input"] == item.arguments
                assert (done["call_id"], done["name"]) == (item.added["call_id"], item.added["name"])

    def end(self, event: Event) -> None:
        self.ended = self.response(event, ENDS[event["type"]])
        if event["type"] == "response.failed":
            assert self.ended["error"]
            return
        assert self.error is None, "a failed stream ends as a whole one does"
        assert all(item.done is not None for item in self.items), "the response ends before one of its items"
        assert self.ended["output"] == [item.done for item in self.items]
        assert self.ended["output"]
        assert bool(self.ended["incomplete_details"]) == (self.ended["status"] == "incomplete")
        assert self.ended["usage"]
