"""Encodes the chunks of an answer as Anthropic's events. Source: platform.claude.com, "Streaming Messages"."""

from collections.abc import Mapping
from typing import Any

import orjson

from sekha_llm_bridge.api.messages.block_queue import BlockQueue
from sekha_llm_bridge.api.messages.call_ids import AnswerCallIds
from sekha_llm_bridge.api.messages.reasoning_marks import signature_of
from sekha_llm_bridge.api.messages.response import complete_block, message_frame, own_citations, stop_sequences_of
from sekha_llm_bridge.api.messages.stop_reasons import Ending, ending_body
from sekha_llm_bridge.api.messages.tool_names import full_names
from sekha_llm_bridge.api.messages.usage import first_usage, usage_body, usage_of_original
from sekha_llm_bridge.api.sse import PING_EVENT
from sekha_llm_bridge.conversation import AnswerChunk, ChoiceDelta, Conversation, Json, Reasoning, ToolCallDelta
from sekha_llm_bridge.usage import Usage

_TEXT, _THINKING, _REDACTED = "text", "thinking", "redacted_thinking"
_STOP = {"type": "message_stop"}
_EMPTY_TEXT = {"type": "text", "text": "", "citations": None}
_EMPTY_THINKING = {"type": "thinking", "thinking": "", "signature": ""}


def event(data: Mapping[str, Any]) -> bytes:
    """Returns one named event."""
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


class MessageEvents:
    """Encodes the chunks of one answer. `prompt_tokens` is the estimate that the first event has.

    What ends the message is held back until `end`: an answer that is cut off never looks like a whole one.
    """

    def __init__(self, conversation: Conversation, prompt_tokens: int) -> None:
        self.has_begun = False
        self.model_id = ""
        self._conversation = conversation
        self._prompt_tokens = prompt_tokens
        self._translator = _Translator(conversation)
        self._original_end: dict[str, Any] | None = None
        self._ids = AnswerCallIds(conversation)
        self._open_originals: list[object] = []  # the indexes of blocks whose end the provider has not sent

    def encode(self, chunk: AnswerChunk) -> bytes:
        """Returns the events for a chunk; nothing where it has none to send yet."""
        if chunk.original is not None and chunk.original.wire_format is self._conversation.wire_format:
            begun = self._begin(chunk.answer_id) if "index" in chunk.original.fields else b""  # else it has begun
            return begun + self._original(chunk.original.fields)
        begun = self._begin(chunk.answer_id) if chunk.choices else b""
        for delta in chunk.choices:
            if delta.position == chunk.choices[0].position:  # one answer was requested
                self._translator.add(delta)
        return begun + b"".join(map(event, self._translator.blocks.events()))

    def end(self, usage: Usage | None, receipt: Json, *, is_estimated: bool) -> bytes:
        """Returns the events that end a complete answer."""
        if (last := self._original_end) is not None:
            counts = usage_of_original(last.get("usage"), usage, is_estimated=is_estimated)
            ends = b"".join(event({"type": "content_block_stop", "index": one}) for one in self._open_originals)
            return ends + event({**last, "usage": counts, "bridge": receipt}) + event(_STOP)
        begun = self._begin("")
        blocks = b"".join(map(event, self._translator.end()))
        last = {
            "type": "message_delta",
            "delta": ending_body(self._translator.ending, stop_sequences_of(self._conversation)),
            "usage": usage_body(usage, is_estimated=is_estimated),
            "bridge": receipt,
        }
        return begun + blocks + event(last) + event(_STOP)

    def _begin(self, answer_id: str) -> bytes:
        if self.has_begun:
            return b""
        self.has_begun = True
        return event({"type": "message_start", "message": self._first_message(answer_id)})

    def _first_message(self, answer_id: str) -> dict[str, Any]:
        usage = usage_body(Usage(self._prompt_tokens), is_estimated=False)
        frame = message_frame(answer_id, self.model_id)
        return {**frame, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}

    def _original(self, sent: Json) -> bytes:
        """Returns an event as the provider sent it, completed for clients. What ends the message waits for `end`."""
        match sent.get("type"):
            case "message_start":
                return self._original_start(sent)
            case "content_block_start":
                self._open_originals.append(sent.get("index"))
                return event({**sent, "content_block": complete_block(sent["content_block"], self._ids)})
            case "content_block_stop":
                self._open_originals = [one for one in self._open_originals if one != sent.get("index")]
                return event(sent)
            case "message_delta":
                before, usage = self._original_end or {}, sent.get("usage")
                self._original_end = {
                    **sent,
                    "delta": {**before.get("delta", {}), **(sent.get("delta") or {})},
                    "usage": {**before.get("usage", {}), **(usage if isinstance(usage, dict) else {})},
                }
                return b""
            case "message_stop" | None:
                return b""
            case "ping":
                return PING_EVENT if self.has_begun else b""
            case _:
                return event(sent)

    def _original_start(self, sent: Json) -> bytes:
        """Returns the first event; nothing for another one, which no client takes."""
        if self.has_begun:
            return b""
        self.has_begun = True
        message = sent["message"]
        whole = {**self._first_message(message.get("id") or ""), **message, "model": self.model_id}
        return event({**sent, "message": {**whole, "usage": first_usage(message.get("usage"), self._prompt_tokens)}})


class _Translator:
    """Puts the deltas of an answer into blocks."""

    def __init__(self, conversation: Conversation) -> None:
        self.blocks = BlockQueue()
        self.ending = Ending(None, has_calls=False)
        self._ids = AnswerCallIds(conversation)
        self._names = full_names(conversation)
        self._thought: Reasoning | None = None  # what is known of the part of the reasoning that has not ended
        self._part = (0, "")  # the number and the kind of the latest block of text or reasoning
        self._calls: set[int] = set()

    def add(self, delta: ChoiceDelta) -> None:
        """Adds a delta of the first choice."""
        for thought in delta.reasoning:
            self._reasoning(thought)
        if delta.text:
            self._text(delta.text)
        for citation in own_citations(delta.citations):
            self._in_part(_TEXT)
            self.blocks.add(self._part, {"type": "citations_delta", "citation": citation})
        if delta.refusal:
            self._text(delta.refusal)
        for call in delta.tool_calls:
            self._call(call)
        if delta.finish_reason or delta.tool_calls or delta.refusal is not None or delta.stop_sequence or delta.extra:
            self._end_of(delta)

    def end(self) -> list[dict[str, Any]]:
        """Returns the events of the blocks that have not ended."""
        self._end_thought()
        return list(self.blocks.events(is_end=True))

    def _end_of(self, delta: ChoiceDelta) -> None:
        known = self.ending
        self.ending = Ending(
            delta.finish_reason or known.finish_reason,
            known.has_calls or bool(delta.tool_calls),
            known.refusal if delta.refusal is None else (known.refusal or "") + delta.refusal,
            delta.stop_sequence or known.stop_sequence,
            {**known.extra, **delta.extra} if delta.extra else known.extra,
        )

    def _text(self, text: str) -> None:
        self._in_part(_TEXT)
        self.blocks.add(self._part, {"type": "text_delta", "text": text})

    def _in_part(self, kind: str) -> None:
        """Begins a block of text or reasoning, unless the latest one is of that kind."""
        if self._part == self.blocks.last_key and self._part[1] == kind:
            return
        self._end_thought()
        self._part = (self._part[0] + 1, kind)
        self.blocks.start(self._part, dict(_EMPTY_TEXT if kind == _TEXT else _EMPTY_THINKING))

    def _reasoning(self, thought: Reasoning) -> None:
        if not thought.text and thought.encrypted is not None and self._thought is None:
            self._part = (self._part[0] + 1, _REDACTED)
            self.blocks.start(self._part, {"type": _REDACTED, "data": signature_of(thought)})
            self.blocks.end(self._part)
            return
        self._in_part(_THINKING)
        known = self._thought
        self._thought = thought if known is None else thought._replace(item_id=thought.item_id or known.item_id)
        if thought.text:
            self.blocks.add(self._part, {"type": "thinking_delta", "thinking": thought.text})
        if thought.signature is not None or thought.encrypted is not None:
            self._end_thought()

    def _end_thought(self) -> None:
        if self._thought is None:
            return
        signature, self._thought = signature_of(self._thought), None
        self.blocks.add(self._part, {"type": "signature_delta", "signature": signature})
        self.blocks.end(self._part)

    def _call(self, call: ToolCallDelta) -> None:
        name = call.name and self._names.get(call.name, call.name)
        if call.position not in self._calls:
            self._calls.add(call.position)
            self._end_thought()
            start = {"type": "tool_use", "id": self._ids.valid(call.call_id), "name": name or "", "input": {}}
            self.blocks.start(call.position, start, is_call=True)
        elif name is not None:
            self.blocks.name(call.position, name)
        if call.arguments:
            self.blocks.add(call.position, {"type": "input_json_delta", "partial_json": call.arguments})
