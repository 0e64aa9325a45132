"""Translates Ollama's streamed answers into OpenAI's chunks."""

from dataclasses import replace
from typing import Any

from sekha_llm_bridge.providers.base import ChatChunk, Json, malformed_answer_guard
from sekha_llm_bridge.providers.event_stream import parse_event
from sekha_llm_bridge.providers.failures import error_within_success
from sekha_llm_bridge.providers.ollama.request import ChatPayload
from sekha_llm_bridge.providers.ollama.response import (
    chat_usage,
    finish_reason,
    reject_truncated_prompt,
    tool_call,
    translate_chat_answer,
)
from sekha_llm_bridge.providers.openai.stream import ChunkReader


class OllamaChunkReader:
    """Translates the lines of one answer to the request `payload` into chunks. `reader` normalises the chunks."""

    def __init__(self, payload: ChatPayload, reader: ChunkReader) -> None:
        self._payload = payload
        self._reader = reader
        self._n_calls = 0

    def read_line(self, line: bytes, *, is_whole: bool = False) -> ChatChunk:
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
            return replace(self._reader.read(self._translate(event)), usage=usage)

    def read_unstreamed(self, answer: dict[str, Any]) -> ChatChunk:
        """Returns the only chunk of a complete answer: some servers send one although a stream was requested.

        A proxy in front of Ollama may collect the stream. Raises as `read_line` does.
        """
        usage = chat_usage(answer)
        reject_truncated_prompt(usage, self._payload)
        with malformed_answer_guard(usage):
            translated = translate_chat_answer(answer, self._payload["model"], created=0)
            return replace(self._reader.read_unstreamed(translated.body), usage=usage)

    def _translate(self, event: Json) -> dict[str, Any]:
        """Returns OpenAI's chunk of an event. Ollama sends each tool call complete, in one event."""
        message = event.get("message") or {}
        delta: dict[str, Any] = {"content": message.get("content") or ""}
        if message.get("thinking"):
            delta["reasoning_content"] = message["thinking"]
        if calls := message.get("tool_calls"):
            numbered = enumerate(calls, start=self._n_calls)
            delta["tool_calls"] = [{"index": index, **tool_call(call["function"])} for index, call in numbered]
            self._n_calls += len(calls)
        finish = finish_reason(event, has_calls=self._n_calls > 0) if event.get("done") else None
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}
