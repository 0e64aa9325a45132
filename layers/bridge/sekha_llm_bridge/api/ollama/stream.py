"""Ollama's stream: one JSON object a line; the last one is done, or an error.

Nothing is sent in silences: the clients parse every line, an empty one, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from sekha_llm_bridge.api.ollama.answers import (
    Part,
    PartFields,
    calls_and_receipt,
    end_fields,
    line_fields,
    logprobs_fields,
    nanoseconds,
)
from sekha_llm_bridge.api.ollama.errors import ollama_error_body
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import AnswerChunk, ChoiceDelta, Original, ToolCall, ToolCallDelta
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import StreamedAnswer
from sekha_llm_bridge.execution.counted_chunks import CountedChunks


class OllamaStreamEncoder:
    """A `StreamEncoder` for one answer. Ollama's calls are never sent in pieces, so they are sent when the answer is
    complete.
    """

    content_type = "application/x-ndjson"
    has_pings = False

    def __init__(self, part_fields: PartFields, clock: Clock, started_s: float) -> None:
        self._part_fields = part_fields
        self._clock = clock
        self._started_s = self._first_token_s = started_s
        self._model_id = ""
        self._calls: dict[int, list[ToolCallDelta]] = {}
        self._finish_reason: str | None = None
        self._original: Original | None = None

    def ping(self) -> bytes:
        """See `StreamEncoder.ping`."""
        return b""

    def begin(self, model_id: str) -> None:
        """See `StreamEncoder.begin`."""
        self._model_id = model_id
        self._first_token_s = self._clock.monotonic_s()

    def chunk(self, chunk: AnswerChunk) -> bytes:
        """See `StreamEncoder.chunk`."""
        self._original = chunk.original or self._original
        return b"".join(self._delta(delta) for delta in chunk.choices if delta.position == 0)

    def end(self, answer: StreamedAnswer[CountedChunks], receipt: dict[str, object]) -> bytes:
        """See `StreamEncoder.end`."""
        calls, receipt = calls_and_receipt(
            (_joined(self._calls[position]) for position in sorted(self._calls)), receipt
        )
        before = _line(self._fields(Part(tool_calls=calls))) if calls else b""
        now_s = self._clock.monotonic_s()
        measured = {
            "prompt_eval_duration": nanoseconds(self._first_token_s - self._started_s),
            "eval_duration": nanoseconds(now_s - self._first_token_s),
        }
        total_s = now_s - self._started_s
        fields = end_fields(self._finish_reason, answer.chunks.usage, total_s, measured, self._original)
        return before + _line({**self._fields(Part(), done=True), **fields, "bridge": receipt})

    def error(self, error: BridgeError, request_id: str, details: Mapping[str, object]) -> bytes:
        """See `StreamEncoder.error`."""
        return _line(ollama_error_body(error, request_id, details))

    def _delta(self, delta: ChoiceDelta) -> bytes:
        for call in delta.tool_calls:
            self._calls.setdefault(call.position, []).append(call)
        self._finish_reason = delta.finish_reason or self._finish_reason
        text = (delta.text or "") + (delta.refusal or "")
        thinking = "".join(thought.text for thought in delta.reasoning)
        logprobs = logprobs_fields(delta.logprobs)
        if not (text or thinking or logprobs):
            return b""
        return _line({**self._fields(Part(text, thinking)), **logprobs})

    def _fields(self, part: Part, *, done: bool = False) -> dict[str, Any]:
        return line_fields(self._model_id, self._clock.now(), self._part_fields(part), done=done)


def _joined(pieces: Sequence[ToolCallDelta]) -> ToolCall:
    call_id = next((piece.call_id for piece in pieces if piece.call_id), None)
    name = next((piece.name for piece in pieces if piece.name), "")
    return ToolCall(call_id, name, "".join(piece.arguments for piece in pieces))


def _line(body: Mapping[str, object]) -> bytes:
    return orjson.dumps(body) + b"\n"
