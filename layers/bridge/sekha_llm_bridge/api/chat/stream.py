"""OpenAI's event stream: its chunks, then the receipt and `[DONE]`; or an error, and no `[DONE]`."""

from collections.abc import Mapping

from sekha_llm_bridge.api.chat.events import ChunkEvents
from sekha_llm_bridge.api.chat.response import usage_body
from sekha_llm_bridge.api.error_response import openai_error_body
from sekha_llm_bridge.api.sse import EVENT_STREAM, PING, event
from sekha_llm_bridge.conversation import AnswerChunk
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import StreamedAnswer
from sekha_llm_bridge.execution.counted_chunks import CountedChunks


class ChatStreamEncoder:
    """A `StreamEncoder` for one answer."""

    content_type = EVENT_STREAM
    has_pings = True

    def __init__(self, *, with_usage: bool) -> None:
        self._events = ChunkEvents(with_usage=with_usage)

    def ping(self) -> bytes:
        """See `StreamEncoder.ping`."""
        return PING

    def begin(self, model_id: str) -> None:
        """See `StreamEncoder.begin`."""
        self._events.model_id = model_id

    def chunk(self, chunk: AnswerChunk) -> bytes:
        """See `StreamEncoder.chunk`."""
        return self._events.encode(chunk)

    def end(self, answer: StreamedAnswer[CountedChunks], receipt: dict[str, object]) -> bytes:
        """See `StreamEncoder.end`."""
        chunks = answer.chunks
        usage = usage_body(chunks.usage, chunks.provider_usage, is_estimated=chunks.is_estimated)
        return self._events.end(usage, receipt)

    def error(self, error: BridgeError, request_id: str, details: Mapping[str, object]) -> bytes:
        """See `StreamEncoder.error`."""
        return event(openai_error_body(error, request_id, details))
