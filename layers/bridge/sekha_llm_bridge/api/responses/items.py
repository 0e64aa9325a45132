"""The output items of an answer: each announces itself and its parts, and what is added to them, in OpenAI's order.

Source: OpenAI's API reference, "Responses", "Streaming events".
"""

import secrets
from enum import StrEnum
from typing import Any, Protocol

from sekha_llm_bridge.api.conversations.packed_reasoning import needs_packing, packed
from sekha_llm_bridge.api.responses.tools import SentTool, ToolKind, input_of_arguments, is_object, object_of_arguments
from sekha_llm_bridge.conversation import Json, Reasoning, ReasoningKind

Event = dict[str, Any]
"""An event without its sequence number."""

_ID_BYTES = 24
_ID_PREFIXES = {ToolKind.FUNCTION: "fc", ToolKind.CUSTOM: "ctc", ToolKind.SEARCH: "tsc"}


class Status(StrEnum):
    """The state of an item."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"


class Phase(StrEnum):
    """What a message is for: Codex shows the two differently."""

    COMMENTARY = "commentary"
    """It comes before calls."""

    FINAL_ANSWER = "final_answer"


class Item(Protocol):
    """An item of the output. A closed one stays as it is."""

    def body(self) -> Json:
        """Returns the item as it is now."""
        ...

    def close(self, status: Status) -> None:
        """Announces the ends of its parts, and its own."""
        ...


def new_id(prefix: str) -> str:
    """Returns a random id such as `resp_…`."""
    return f"{prefix}_{secrets.token_hex(_ID_BYTES)}"


class _Announcer:
    """Adds the events of one item to those of the answer."""

    def __init__(self, item_id: str, position: int, events: list[Event]) -> None:
        self.item_id = item_id
        self._position = position
        self._events = events

    def item(self, kind: str, body: Json) -> None:
        """Announces the beginning or the end of the item: `kind` is added or done."""
        self._events.append({"type": f"response.output_item.{kind}", "output_index": self._position, "item": body})

    def part(self, kind: str, **fields: Any) -> None:
        """Announces something of the item, such as `output_text.delta`."""
        self._events.append(
            {"type": f"response.{kind}", "item_id": self.item_id, "output_index": self._position, **fields}
        )


class _Part:
    """A part of a message: its text so far. `kind` is output_text or refusal, `field` the name of the text in it."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.texts: list[str] = []
        self.n_characters = 0
        self.logprobs: list[Json] = []
        self.annotations: list[Json] = []

    def add(self, text: str) -> None:
        self.texts.append(text)
        self.n_characters += len(text)

    def body(self) -> Json:
        text = "".join(self.texts)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [*self.annotations], "logprobs": [*self.logprobs]}


class MessageItem:
    """A message of the assistant. `phase` is known when it ends, if at all."""

    def __init__(self, position: int, events: list[Event]) -> None:
        self.phase: Phase | None = None
        self._announce = _Announcer(new_id("msg"), position, events)
        self._status = Status.IN_PROGRESS
        self._parts: list[_Part] = []
        self._announce.item("added", self.body())

    def body(self) -> Json:
        """See `Item.body`."""
        return {
            "id": self._announce.item_id,
            "type": "message",
            "status": self._status.value,
            "role": "assistant",
            "content": [part.body() for part in self._parts],
            **({} if self.phase is None else {"phase": self.phase.value}),
        }

    def add_text(self, text: str, logprobs: list[Json]) -> None:
        """Adds a piece of text. `logprobs` are those of its tokens, where they were asked for."""
        part = self._part("output_text")
        part.add(text)
        part.logprobs += logprobs
        if text:
            self._announce.part("output_text.delta", content_index=part.index, delta=text, logprobs=logprobs)

    def add_refusal(self, text: str) -> None:
        """Adds a piece of a refusal."""
        part = self._part("refusal")
        part.add(text)
        self._announce.part("refusal.delta", content_index=part.index, delta=text)

    def add_annotations(self, annotations: list[Json]) -> None:
        """Adds the sources of the text. One that says no place in it is given the end of the text so far."""
        part = self._part("output_text")
        for found in annotations:
            annotation = {"start_index": part.n_characters, "end_index": part.n_characters, **found}
            self._announce.part(
                "output_text.annotation.added",
                content_index=part.index,
                annotation_index=len(part.annotations),
                annotation=annotation,
            )
            part.annotations.append(annotation)

    def close(self, status: Status) -> None:
        """See `Item.close`."""
        if self._status is Status.IN_PROGRESS:
            self._end_part()
            self._status = status
            self._announce.item("done", self.body())

    def _part(self, kind: str) -> _Part:
        """Returns the open part of that kind, or a new one."""
        if not self._parts or self._parts[-1].kind != kind:
            self._end_part()
            part = _Part(kind, len(self._parts))
            self._parts.append(part)
            self._announce.part("content_part.added", content_index=part.index, part=part.body())
        return self._parts[-1]

    def _end_part(self) -> None:
        if not self._parts:
            return
        part = self._parts[-1]
        body = part.body()
        if part.kind == "refusal":
            self._announce.part("refusal.done", content_index=part.index, refusal=body["refusal"])
        else:
            self._announce.part(
                "output_text.done", content_index=part.index, text=body["text"], logprobs=body["logprobs"]
            )
        self._announce.part("content_part.done", content_index=part.index, part=body)


class ReasoningItem:
    """A part of the model's reasoning. It is the `summary` of the item where the request asks for a summary, because
    clients that ask read it there; else it is the `content`.
    """

    def __init__(self, position: int, events: list[Event], *, is_summary: bool, is_packed: bool) -> None:
        self._announce = _Announcer(new_id("rs"), position, events)
        self._is_summary = is_summary
        self._is_packed = is_packed
        self._thought: Reasoning | None = None
        self._texts: list[str] = []
        self._is_closed = False
        self._announce.item("added", self.body())

    def continues_with(self, piece: Reasoning) -> bool:
        """Returns whether a piece belongs to the same part: a signature, or another vendor, ends it."""
        so_far = self._thought
        if so_far is None:
            return True
        is_ended = so_far.signature or so_far.encrypted or piece.encrypted
        return not is_ended and piece.kind in {so_far.kind, ReasoningKind.UNKNOWN}

    def body(self) -> Json:
        """See `Item.body`."""
        texts = ["".join(self._texts)] if self._texts else []
        body: dict[str, Any] = {"id": self._announce.item_id, "type": "reasoning", "summary": []}
        if self._is_summary:
            body["summary"] = [{"type": "summary_text", "text": text} for text in texts]
        elif texts:
            body["content"] = [{"type": "reasoning_text", "text": text} for text in texts]
        if self._thought is not None and self._is_closed and (self._is_packed or needs_packing([self._thought])):
            body["encrypted_content"] = packed([self._thought._replace(text="".join(self._texts))])
        return body

    def add(self, piece: Reasoning) -> None:
        """Adds a piece of the reasoning."""
        before = self._thought or piece
        self._thought = piece._replace(
            kind=before.kind,
            signature=piece.signature or before.signature,
            encrypted=piece.encrypted or before.encrypted,
            item_id=before.item_id or piece.item_id,
        )
        if not piece.text:
            return
        if not self._texts:
            self._announce_part("added", "")
        self._texts.append(piece.text)
        self._announce_text("delta", delta=piece.text)

    def close(self, status: Status) -> None:  # noqa: ARG002 — reasoning has no status
        """See `Item.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._texts:
            text = "".join(self._texts)
            self._announce_text("done", text=text)
            self._announce_part("done", text)
        self._announce.item("done", self.body())

    def _announce_part(self, kind: str, text: str) -> None:
        if self._is_summary:
            part = {"type": "summary_text", "text": text}
            self._announce.part(f"reasoning_summary_part.{kind}", summary_index=0, part=part)
        else:
            part = {"type": "reasoning_text", "text": text}
            self._announce.part(f"content_part.{kind}", content_index=0, part=part)

    def _announce_text(self, kind: str, **fields: str) -> None:
        if self._is_summary:
            self._announce.part(f"reasoning_summary_text.{kind}", summary_index=0, **fields)
        else:
            self._announce.part(f"reasoning_text.{kind}", content_index=0, **fields)


class CallItem:
    """A call of a tool. The input of a custom tool comes as a whole, because it is a text within the JSON that the
    provider sends; the arguments of a search for tools come only in the item.
    """

    def __init__(self, position: int, events: list[Event], tool: SentTool, call_id: str | None) -> None:
        self._announce = _Announcer(new_id(_ID_PREFIXES[tool.kind]), position, events)
        self._tool = tool
        self._call_id = call_id or new_id("call")
        self._arguments: list[str] = []
        self._status = Status.IN_PROGRESS
        self._announce.item("added", self.body())

    def body(self) -> Json:
        """See `Item.body`."""
        arguments = "".join(self._arguments)
        namespace = {} if self._tool.namespace is None else {"namespace": self._tool.namespace}
        head = {"id": self._announce.item_id, "status": self._status.value, "call_id": self._call_id}
        is_whole = self._status is not Status.IN_PROGRESS
        match self._tool.kind:
            case ToolKind.FUNCTION:
                return {**head, "type": "function_call", "name": self._tool.name, **namespace, "arguments": arguments}
            case ToolKind.CUSTOM:
                text = input_of_arguments(arguments) if is_whole else ""
                return {**head, "type": "custom_tool_call", "name": self._tool.name, **namespace, "input": text}
            case ToolKind.SEARCH:
                query = object_of_arguments(arguments) if is_whole else {}
                return {**head, "type": "tool_search_call", "execution": "client", "arguments": query}

    @property
    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object, to which nothing can be added."""
        return is_object("".join(self._arguments))

    def add(self, arguments: str) -> None:
        """Adds a fragment of the arguments. Nothing follows a call that has ended but white space."""
        if not arguments or self._status is not Status.IN_PROGRESS:
            return
        self._arguments.append(arguments)
        if self._tool.kind is ToolKind.FUNCTION:
            self._announce.part("function_call_arguments.delta", delta=arguments)

    def close(self, status: Status) -> None:
        """See `Item.close`."""
        if self._status is not Status.IN_PROGRESS:
            return
        self._status = status
        body = self.body()
        if self._tool.kind is ToolKind.CUSTOM:
            if body["input"]:
                self._announce.part("custom_tool_call_input.delta", delta=body["input"])
            self._announce.part("custom_tool_call_input.done", input=body["input"])
        elif self._tool.kind is ToolKind.FUNCTION:
            self._announce.part("function_call_arguments.done", name=body["name"], arguments=body["arguments"])
        self._announce.item("done", body)
