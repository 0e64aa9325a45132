"""Reads Ollama's streamed answers."""

from typing import Any

from sekha_llm_bridge.conversation import AnswerChunk, ChoiceDelta, Json, Reasoning, ToolCall, ToolCallDelta
from sekha_llm_bridge.providers.base import malformed_answer, malformed_answer_guard
from sekha_llm_bridge.providers.event_stream import parse_event
from sekha_llm_bridge.providers.failures import error_within_success
from sekha_llm_bridge.providers.ollama.request import ChatPayload
from sekha_llm_bridge.providers.ollama.response import (
    chat_usage,
    finish_reason,
    logprobs,
    original,
    read_chat_answer,
    reject_truncated_prompt,
    require_logprobs,
    tool_call,
)
from sekha_llm_bridge.providers.single_choice import SingleChoiceStream


class OllamaChunkReader:
    """Reads the lines of one answer to the request `payload`. `chunks` makes the chunks."""

    def __init__(self, payload: ChatPayload, chunks: SingleChoiceStream) -> None:
        self._payload = payload
        self._chunks = chunks
        self._n_calls = 0

    def read_line(self, line: bytes, *, is_whole: bool = False) -> AnswerChunk:
        """Returns the chunk of one line. `is_whole`: the line is a complete answer.

        Raises `ProviderError` for a line with an error, for one of another shape, and for the last line where its usage
        shows that the prompt was cut.
        """
        with malformed_answer_guard(None):
            event = parse_event(line)
            if event.get("error"):
                raise error_within_success(event, request=self._payload)
        if is_whole:
            return self.read_unstreamed(event)
        usage = chat_usage(event) if event.get("done") else None
        reject_truncated_prompt(usage, self._payload)
        with malformed_answer_guard(usage):
            chunk = self._chunks.chunk(self._delta(event), usage=usage)
            return chunk._replace(original=original(event)) if event.get("done") else chunk

    def read_unstreamed(self, answer: dict[str, Any]) -> AnswerChunk:
        """Returns the only chunk of a complete answer: some servers send one although a stream was requested.

        A proxy in front of Ollama may collect the stream. Raises as `read_line` does.
        """
        usage = chat_usage(answer)
        reject_truncated_prompt(usage, self._payload)
        with malformed_answer_guard(usage):
            choice = read_chat_answer(answer, created=0).choices[0]
            require_logprobs(answer["message"].get("content"), choice.logprobs, self._payload, usage)
            texts, calls = _texts(answer), [block for block in choice.blocks if type(block) is ToolCall]
            delta = ChoiceDelta(
                **texts,
                tool_calls=self._numbered(calls),
                finish_reason=choice.finish_reason,
                logprobs=choice.logprobs,
            )
            return self._chunks.chunk(delta, usage=usage)._replace(original=original(answer))

    def _delta(self, event: Json) -> ChoiceDelta:
        """Returns what an event adds. Ollama sends each tool call complete, in one event."""
        calls = [tool_call(call["function"]) for call in (event.get("message") or {}).get("tool_calls") or ()]
        texts, numbered = _texts(event), self._numbered(calls)
        probabilities = logprobs(event)
        require_logprobs(texts["text"], probabilities, self._payload, None)
        finish = finish_reason(event, has_calls=self._n_calls > 0) if event.get("done") else None
        return ChoiceDelta(**texts, tool_calls=numbered, finish_reason=finish, logprobs=probabilities)

    def _numbered(self, calls: list[ToolCall]) -> tuple[ToolCallDelta, ...]:
        first, self._n_calls = self._n_calls, self._n_calls + len(calls)
        return tuple(
            ToolCallDelta(position, call.arguments, call.call_id, call.kind, call.name)
            for position, call in enumerate(calls, start=first)
        )


def _texts(event: Json) -> dict[str, Any]:
    """Returns the text and the reasoning of an event. Raises `ProviderError` (MALFORMED_ANSWER) for other content."""
    message = event.get("message") or {}
    text, thinking = message.get("content") or "", message.get("thinking") or ""
    if not isinstance(text, str) or not isinstance(thinking, str):
        raise malformed_answer("the provider's answer has content that is no text")
    return {"text": text, "reasoning": (Reasoning(thinking),) if thinking else ()}
