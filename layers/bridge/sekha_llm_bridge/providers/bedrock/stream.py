"""Translates the events of ConverseStream. Source: Amazon Bedrock API Reference, "ConverseStreamOutput"."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.conversation import (
    AnswerChunk,
    AnswerState,
    ChoiceDelta,
    Json,
    Reasoning,
    ToolCallDelta,
)
from sekha_llm_bridge.errors import ProviderError
from sekha_llm_bridge.providers.base import malformed_answer_guard, read_text
from sekha_llm_bridge.providers.bedrock.errors import error_of_event
from sekha_llm_bridge.providers.bedrock.event_stream import EventMessage
from sekha_llm_bridge.providers.bedrock.request import OUTPUT_TOOL, ChatBody, uses_output_tool
from sekha_llm_bridge.providers.bedrock.response import (
    failure_of_stop,
    finish_reason,
    provider_usage,
    read_usage,
    reasoning_kind,
    stop_sequence,
    translate_chat_answer,
)
from sekha_llm_bridge.providers.event_stream import parse_event
from sekha_llm_bridge.providers.failures import error_within_success
from sekha_llm_bridge.providers.single_choice import SingleChoiceStream, whole_delta


class ConverseStreamReader:
    """Translates the messages of the streamed answer to the request `body` into chunks.

    Where the answer is the input of `OUTPUT_TOOL`, its fragments become text, and other text is held back: it is only
    the answer if the tool is not called. `has_ended`: nothing can follow.
    """

    def __init__(self, model_id: str, body: ChatBody, *, created: int) -> None:
        self.has_ended = False
        self._stream = SingleChoiceStream(created)
        self._model_id = model_id
        self._body = body
        self._reasoning_kind = reasoning_kind(model_id)
        self._held_text: list[str] | None = [] if uses_output_tool(body) else None
        self._calls: dict[int, int] = {}  # the positions of calls by the numbers of their content blocks
        self._without_input: set[int] = set()
        self._output_block: int | None = None
        self._ignored_blocks: set[int] = set()  # further calls of OUTPUT_TOOL: the answer is the first one
        self._failure: ProviderError | None = None
        self._has_content = False

    @property
    def is_complete(self) -> bool:
        """Whether the whole answer was received. Its usage may still follow."""
        return self._stream.state is AnswerState.FINISHED and self._failure is None

    def read(self, message: EventMessage) -> AnswerChunk:
        """Returns the chunk of one message. Raises `ProviderError` for an error, and for one of another shape."""
        kind = message.text(":message-type")
        if kind in {"exception", "error"}:
            raise error_of_event(message, request=self._body, may_be_billed=self._has_content)
        with malformed_answer_guard(None):
            return self._read_event(message.text(":event-type"), parse_event(message.payload))

    def read_whole(self, content: bytes) -> AnswerChunk:
        """Returns the only chunk of a complete answer: a proxy may send one although a stream was requested.

        Raises `ProviderError` as `translate_chat_answer` does.
        """
        with malformed_answer_guard(None):
            body = parse_event(content)
            if body.get("error"):
                raise error_within_success(body, request=self._body)
        usage, has_output_tool = read_usage(body.get("usage")), uses_output_tool(self._body)
        with malformed_answer_guard(usage):
            answer = translate_chat_answer(body, self._model_id, created=0, has_output_tool=has_output_tool)
            delta = whole_delta(answer.choices[0])
            return self._stream.chunk(delta, usage=usage, provider_usage=answer.provider_usage)

    def require_complete(self) -> None:
        """Raises `ProviderError` where the stream has ended before the end of the answer, or with its failure."""
        if self._failure is not None:
            raise self._failure
        self._stream.require_complete()

    def _read_event(self, kind: str, event: Mapping[str, Any]) -> AnswerChunk:
        match kind:
            case "contentBlockStart":
                delta = self._start(event["contentBlockIndex"], event["start"])
            case "contentBlockDelta":
                delta = self._delta(event["contentBlockIndex"], event["delta"])
            case "contentBlockStop":
                delta = self._stop(event["contentBlockIndex"])
            case "messageStop":
                delta = self._end(event)
            case "metadata":
                return self._metadata(event)
            case _:  # messageStart, and events of a later version
                delta = None
        self._has_content = self._has_content or delta is not None or kind == "contentBlockDelta"
        return self._stream.chunk(delta)

    def _start(self, block: int, start: Json) -> ChoiceDelta | None:
        call = start.get("toolUse")
        if call is None:
            return None
        if self._held_text is not None and call["name"] == OUTPUT_TOOL:
            return self._start_output(block)
        position = self._calls.setdefault(block, len(self._calls))
        self._without_input.add(block)
        fragment = ToolCallDelta(position, call_id=call["toolUseId"], kind="function", name=call["name"])
        return ChoiceDelta(tool_calls=(fragment,))

    def _start_output(self, block: int) -> ChoiceDelta | None:
        if self._output_block is not None:
            self._ignored_blocks.add(block)
            return None
        self._output_block = block
        self._without_input.add(block)
        return ChoiceDelta(text="")

    def _delta(self, block: int, delta: Json) -> ChoiceDelta | None:
        match delta:
            case {"text": text}:
                return self._text(read_text(text))
            case {"toolUse": {"input": arguments}}:
                if read_text(arguments):
                    self._without_input.discard(block)
                return self._input(block, arguments)
            case {"reasoningContent": reasoning}:
                return ChoiceDelta(reasoning=(self._reasoning(reasoning),))
            case {"citation": citation}:
                return ChoiceDelta(citations=(citation,))
            case dict():  # of a later version
                return None
            case _:
                raise TypeError("not a delta")

    def _text(self, text: str) -> ChoiceDelta | None:
        if self._held_text is None:
            return ChoiceDelta(text=text)
        self._held_text.append(text)
        return None

    def _input(self, block: int, arguments: str) -> ChoiceDelta | None:
        if block in self._ignored_blocks:
            return None
        if block == self._output_block:
            return ChoiceDelta(text=arguments)
        return ChoiceDelta(tool_calls=(ToolCallDelta(self._calls[block], arguments),))

    def _reasoning(self, delta: Json) -> Reasoning:
        return Reasoning(
            read_text(delta.get("text") or ""),
            self._reasoning_kind,
            signature=delta.get("signature"),
            encrypted=delta.get("redactedContent"),
        )

    def _stop(self, block: int) -> ChoiceDelta | None:
        """Ends a block. A call without any input has the arguments of an empty object."""
        if block not in self._without_input:
            return None
        self._without_input.discard(block)
        return self._input(block, "{}")

    def _end(self, event: Json) -> ChoiceDelta | None:
        reason = read_text(event["stopReason"])
        self._failure = failure_of_stop(reason)
        if self._failure is not None:  # raised when its usage is known
            return None
        text = None
        if self._held_text and self._output_block is None and not self._calls:
            text = "".join(self._held_text)
        finish = finish_reason(reason, has_calls=bool(self._calls))
        return ChoiceDelta(text=text, finish_reason=finish, stop_sequence=stop_sequence(event))

    def _metadata(self, event: Json) -> AnswerChunk:
        usage = read_usage(event.get("usage"))
        if self._failure is not None:
            raise self._failure.with_billing(usage)
        self.has_ended = self._stream.state is AnswerState.FINISHED
        return self._stream.chunk(usage=usage, provider_usage=provider_usage(usage))
