"""Anthropic's event stream: the message, with the receipt in its last event but one; or an error, and nothing that
ends a message.
"""

from collections.abc import Mapping

from sekha_llm_bridge.api.messages.errors import anthropic_error_body
from sekha_llm_bridge.api.messages.events import MessageEvents, event
from sekha_llm_bridge.api.sse import EVENT_STREAM, PING, PING_EVENT
from sekha_llm_bridge.conversation import AnswerChunk, Conversation
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import StreamedAnswer
from sekha_llm_bridge.execution.counted_chunks import CountedChunks


class MessageStreamEncoder:
    """A `StreamEncoder` for one answer."""

    content_type = EVENT_STREAM
    has_pings = True

    def __init__(self, conversation: Conversation, prompt_tokens: int) -> None:
        self._events = MessageEvents(conversation, prompt_tokens)

    def ping(self) -> bytes:
        """See `StreamEncoder.ping`. Before the message begins, no event may come."""
        return PING_EVENT if self._events.has_begun else PING

    def begin(self, model_id: str) -> None:
        """See `StreamEncoder.begin`."""
        self._events.model_id = model_id

    def chunk(self, chunk: AnswerChunk) -> bytes:
        """See `StreamEncoder.chunk`."""
        return self._events.encode(chunk)

    def end(self, answer: StreamedAnswer[CountedChunks], receipt: dict[str, object]) -> bytes:
        """See `StreamEncoder.end`."""
        return self._events.end(answer.chunks.usage, receipt, is_estimated=answer.chunks.is_estimated)

    def error(self, error: BridgeError, request_id: str, details: Mapping[str, object]) -> bytes:
        """See `StreamEncoder.error`."""
        return event(anthropic_error_body(error, request_id, details))
