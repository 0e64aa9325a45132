"""OpenAI's event stream: its chunks, then the receipt and `[DONE]`; or an error, and no `[DONE]`."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat.events import ChunkEvents
from sekha_llm_bridge.api.chat.response import bridge_body, usage_body
from sekha_llm_bridge.api.error_response import openai_error_body
from sekha_llm_bridge.api.sse import event
from sekha_llm_bridge.conversation import AnswerChunk
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import Receipt, StreamedAnswer
from sekha_llm_bridge.execution.counted_chunks import CountedChunks


class ChatStreamEncoder:
    """A `StreamEncoder` for one answer to a request of which `body` was sent to the provider."""

    def __init__(self, body: Mapping[str, Any], *, with_usage: bool) -> None:
        self._body = body
        self._events = ChunkEvents(with_usage=with_usage)

    def begin(self, model_id: str) -> None:
        """See `StreamEncoder.begin`."""
        self._events.model_id = model_id

    def chunk(self, chunk: AnswerChunk) -> bytes:
        """See `StreamEncoder.chunk`."""
        return self._events.encode(chunk)

    def end(self, answer: StreamedAnswer[CountedChunks], receipt: Receipt) -> bytes:
        """See `StreamEncoder.end`."""
        chunks = answer.chunks
        usage = usage_body(chunks.usage, chunks.provider_usage, is_estimated=chunks.is_estimated)
        bridge = bridge_body(receipt, answer.candidate, self._body, is_estimated=chunks.is_estimated)
        return self._events.end(usage, bridge)

    def error(self, error: BridgeError, request_id: str, details: Mapping[str, object]) -> bytes:
        """See `StreamEncoder.error`."""
        return event(openai_error_body(error, request_id, details))
