"""Translates Anthropic's streamed answers into chunks.

An answer is complete with the `stop_reason` of `message_delta`: a stream that ends before it was cut. Unknown events,
blocks and deltas are ignored, as Anthropic's versioning policy asks. Blocks of tools that Anthropic itself runs have no
place in chunks; whole answers have them.

Source: platform.claude.com, "Streaming Messages".
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from sekha_llm_bridge.conversation import (
    AnswerChunk,
    AnswerState,
    ChoiceDelta,
    Json,
    Original,
    Reasoning,
    ReasoningKind,
    WireFormat,
)
from sekha_llm_bridge.conversation import ToolCallDelta as CallDelta
from sekha_llm_bridge.providers.anthropic.output_format import ANSWER_TOOL, ignored_answer_tool
from sekha_llm_bridge.providers.anthropic.response import COMPLETE_REASONS, extra_of, finish_reason, refusal_of
from sekha_llm_bridge.providers.anthropic.usage import merged_usage, provider_usage, read_usage
from sekha_llm_bridge.providers.base import malformed_answer, malformed_answer_guard, read_text
from sekha_llm_bridge.providers.event_stream import DONE, parse_event
from sekha_llm_bridge.providers.failures import error_within_success
from sekha_llm_bridge.providers.single_choice import SingleChoiceStream
from sekha_llm_bridge.usage import Usage

# In place of the number of a call: the call is the answer, or a second answer, which is ignored.
_ANSWER = -1
_SECOND_ANSWER = -2
_BEGIN_EMPTY = frozenset({"text", "thinking"})


class MessageReader:
    """Reads the events of one answer to the request `payload`. `created` is in Unix seconds.

    `must_call`: the request forces the answer tool, so a text before a call is an error (CANDIDATE_UNSUITABLE).
    `keeps_originals`: each chunk has its event as it was sent, unless that is a whole message; and a block of any type
    is a part of the answer.
    `is_hour_cache`: see `read_usage`.
    """

    def __init__(self, payload: Json, *, created: int) -> None:
        self.has_received_stop = False
        self.must_call = False
        self.keeps_originals = False
        self.is_hour_cache = False
        self._payload = payload
        self._chunks = SingleChoiceStream(created)
        self._usage: Json = {}
        self._is_counted = False
        self._billed: Usage | None = None  # known only at the end: before it, only the first token is counted
        self._calls: dict[object, int] = {}  # the number of each call by the index of its block
        self._n_calls = 0
        self._unsent_arguments: tuple[int, str] | None = None  # those in the first event of a call, until others follow

    @property
    def state(self) -> AnswerState:
        """The state of the answer."""
        return self._chunks.state

    def read(self, events: Iterable[bytes], *, is_whole: bool = False) -> Iterator[AnswerChunk]:
        """Yields the chunks of the events. `is_whole`: the only event must be a whole message.

        Raises `ProviderError` for an event with an error or of another shape.
        """
        for data in events:
            if self.has_received_stop or data.strip() == DONE:
                return
            with malformed_answer_guard(None):
                event = parse_event(data)
                if event.get("error"):
                    raise error_within_success(event, request=self._payload)
                if is_whole and not _is_message(event):
                    raise malformed_answer("the provider's answer is neither a message nor a stream")
            with malformed_answer_guard(self._billed):
                keeps_original = self.keeps_originals and not _is_message(event)
                chunks = [self._chunk(one, keeps_original=keeps_original) for one in events_of(event)]
            yield from chunks

    def require_complete(self) -> None:
        """Raises `ProviderError` (MALFORMED_ANSWER) where the stream has ended before its stop reason."""
        self._chunks.require_complete()

    def _chunk(self, event: Json, *, keeps_original: bool) -> AnswerChunk:
        chunk = self._read(event)
        if not keeps_original:
            return chunk
        is_progress = chunk.is_progress or _begins_other_block(event)
        return chunk._replace(is_progress=is_progress, original=Original(WireFormat.ANTHROPIC, event))

    def _read(self, event: Json) -> AnswerChunk:
        match event.get("type"):
            case "message_start":
                message = event["message"]
                self._chunks.answer_id = read_text(message.get("id") or self._chunks.answer_id)
                self._usage = merged_usage(self._usage, message.get("usage"))
            case "content_block_start":
                return self._chunks.chunk(self._block_start(event.get("index"), event["content_block"]))
            case "content_block_delta":
                return self._chunks.chunk(self._block_delta(event.get("index"), event["delta"]))
            case "content_block_stop":
                return self._chunks.chunk(self._block_stop())
            case "message_delta":
                return self._message_delta(event)
            case "message_stop":
                self.has_received_stop = True
        return self._chunks.chunk()

    def _block_start(self, index: object, block: Json) -> ChoiceDelta | None:
        match block["type"]:
            case "text":
                text = self._text(block.get("text") or "")
                return ChoiceDelta(text=text, citations=tuple(block.get("citations") or ()))
            case "thinking":
                return _reasoning(block.get("thinking") or "", signature=block.get("signature") or None)
            case "redacted_thinking":
                return _reasoning("", encrypted=read_text(block["data"]))
            case "tool_use":
                return self._call_start(index, block)
        return None

    @property
    def _has_answer(self) -> bool:
        return _ANSWER in self._calls.values()

    def _text(self, text: object) -> str:
        """Returns the text, or nothing beside a call that is the answer: the answer is JSON and nothing else."""
        if self.must_call and not self._calls and read_text(text).strip():
            raise ignored_answer_tool(self._billed)
        return "" if self._has_answer else read_text(text)

    def _call_start(self, index: object, block: Json) -> ChoiceDelta | None:
        is_answer = block["name"] == ANSWER_TOOL
        position = self._n_calls
        if is_answer:
            position = _SECOND_ANSWER if self._has_answer else _ANSWER
        self._calls[index] = position
        self._unsent_arguments = position, orjson.dumps(block.get("input") or {}).decode()
        if is_answer:
            return None
        self._n_calls += 1
        call = CallDelta(position, "", read_text(block["id"]), "function", read_text(block["name"]))
        return ChoiceDelta(tool_calls=(call,))

    def _block_delta(self, index: object, delta: Json) -> ChoiceDelta | None:
        match delta["type"]:
            case "text_delta":
                return ChoiceDelta(text=self._text(delta["text"]))
            case "thinking_delta":
                return _reasoning(delta["thinking"])
            case "signature_delta":
                return _reasoning("", signature=read_text(delta["signature"]))
            case "citations_delta":
                return ChoiceDelta(citations=(delta["citation"],))
            case "input_json_delta" if index in self._calls and delta["partial_json"]:
                self._unsent_arguments = None
                return _arguments(self._calls[index], delta["partial_json"])
        return None

    def _block_stop(self) -> ChoiceDelta | None:
        """Returns the arguments that were in the first event of a call, `{}` for a tool without parameters."""
        unsent, self._unsent_arguments = self._unsent_arguments, None
        return None if unsent is None else _arguments(*unsent)

    def _message_delta(self, event: Json) -> AnswerChunk:
        usage = event.get("usage")
        # The first event has a count of 1 or so: without another one at the end, the answer has not been counted.
        self._is_counted |= isinstance(usage, dict) and usage.get("output_tokens") is not None
        self._usage = merged_usage(self._usage, usage)
        ending = event.get("delta") or {}
        if ending.get("stop_reason") is None:
            return self._chunks.chunk()
        self._billed = read_usage(self._usage, is_hour_cache=self.is_hour_cache) if self._is_counted else None
        if self.must_call and not self._calls and ending["stop_reason"] in COMPLETE_REASONS:
            raise ignored_answer_tool(self._billed)
        refusals = refusal_of(ending)
        delta = (self._block_stop() or ChoiceDelta())._replace(
            refusal=refusals[0].text if refusals else None,
            finish_reason=finish_reason(ending["stop_reason"], has_calls=self._n_calls > 0),
            stop_sequence=ending.get("stop_sequence"),
            extra=extra_of(ending),
        )
        return self._chunks.chunk(
            delta, usage=self._billed, provider_usage=provider_usage(self._usage if self._is_counted else None)
        )


def _arguments(position: int, arguments: str) -> ChoiceDelta | None:
    if position == _SECOND_ANSWER:
        return None
    if position == _ANSWER:
        return ChoiceDelta(text=read_text(arguments))
    return ChoiceDelta(tool_calls=(CallDelta(position, read_text(arguments)),))


def _reasoning(text: object, *, signature: str | None = None, encrypted: str | None = None) -> ChoiceDelta | None:
    if not (text or signature or encrypted):
        return None
    return ChoiceDelta(reasoning=(Reasoning(read_text(text), ReasoningKind.ANTHROPIC, signature, encrypted),))


def _begins_other_block(event: Json) -> bool:
    """Returns whether a block begins that is neither a text nor reasoning, whose first words are yet to come."""
    return event.get("type") == "content_block_start" and event["content_block"]["type"] not in _BEGIN_EMPTY


def _is_message(event: Json) -> bool:
    return event.get("type") == "message" or "content" in event


def events_of(event: Json) -> Iterator[Json]:
    """Yields the event itself; for a whole message, which some servers send although a stream was requested, the events
    that stand for it. Raises KeyError, TypeError or AttributeError for a message of another shape.
    """
    if not _is_message(event):
        yield event
        return
    yield {"type": "message_start", "message": event}
    for index, block in enumerate(event["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    stop_reason = event.get("stop_reason") or "end_turn"
    yield {"type": "message_delta", "delta": {**event, "stop_reason": stop_reason}, "usage": event.get("usage")}
    yield {"type": "message_stop"}


_TEXT_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""The field of a block to which each delta adds its own field of the same name."""


def join_events(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the message of a server that streams although no stream was requested.

    Raises `ProviderError` (MALFORMED_ANSWER) where the events end before the stop reason.
    """
    message: dict[str, Any] = {}
    blocks: dict[object, _JoinedBlock] = {}
    for event in events:
        match event.get("type"):
            case "message":
                return event
            case "message_start":
                message = {**event["message"]}
            case "content_block_start":
                blocks[event.get("index")] = _JoinedBlock(event["content_block"])
            case "content_block_delta":
                blocks[event.get("index")].add(event["delta"])
            case "message_delta":
                usage = merged_usage(message.get("usage") or {}, event.get("usage"))
                message = {**message, **event["delta"], "usage": usage}
    if message.get("stop_reason") is None:
        raise malformed_answer("the provider's answer ended before its stop reason: it was cut off")
    return {**message, "content": [block.whole() for block in blocks.values()]}


class _JoinedBlock:
    """A block and the deltas that add to it. An answer may have as many deltas as tokens, so texts are joined once."""

    def __init__(self, first: Json) -> None:
        self._first = first
        self._texts: dict[str, list[str]] = {}
        self._citations: list[Any] = []

    def add(self, delta: Json) -> None:
        if (name := _TEXT_DELTAS.get(delta["type"])) is not None:
            self._texts.setdefault(name, []).append(read_text(delta[name]))
        elif delta["type"] == "citations_delta":
            self._citations.append(delta["citation"])

    def whole(self) -> dict[str, Any]:
        block = {**self._first}
        for name, texts in self._texts.items():
            block[name] = "".join([block.get(name) or "", *texts])
        if self._citations:
            block["citations"] = [*(block.get("citations") or ()), *self._citations]
        arguments = block.pop("partial_json", None)
        return {**block, "input": orjson.loads(arguments)} if arguments else block
