"""Writes one streamed answer as server-sent events, in the event format of an inbound API."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from fastapi import Request

from sekha_llm_bridge.api.request_state import add_log_fields, bridge_of, inbound_of, state_of, unexpected_error
from sekha_llm_bridge.api.sse import ConnectionClosed, EventWriter
from sekha_llm_bridge.conversation import AnswerChunk
from sekha_llm_bridge.errors import BridgeError, ClientDisconnected
from sekha_llm_bridge.execution import Deadline, Receipt, StreamedAnswer
from sekha_llm_bridge.execution.chat_operation import ChatStreamOperation
from sekha_llm_bridge.execution.counted_chunks import CountedChunks
from sekha_llm_bridge.execution.receipt import answer_headers


class StreamEncoder(Protocol):
    """The event format of an inbound API. `content_type` is that of the response. `has_pings`: something is sent in
    silences.
    """

    content_type: str
    has_pings: bool

    def ping(self) -> bytes:
        """Returns what is sent after five seconds of silence, also before `begin`. It is one of `sse.PINGS`."""
        ...

    def begin(self, model_id: str) -> None:
        """Is called before the first chunk, with the model that answers."""
        ...

    def chunk(self, chunk: AnswerChunk) -> bytes:
        """Returns the events for a chunk, or nothing."""
        ...

    def end(self, answer: StreamedAnswer[CountedChunks], receipt: dict[str, object]) -> bytes:
        """Returns the events that end a complete answer. `receipt` is the object `bridge`."""
        ...

    def error(self, error: BridgeError, request_id: str, details: Mapping[str, object]) -> bytes:
        """Returns the events that end an incomplete answer."""
        ...


class AnswerStreamWriter:
    """Writes one streamed answer. An incomplete answer ends with an error event, and never like a complete one."""

    def __init__(
        self,
        request: Request,
        operation: ChatStreamOperation,
        deadline: Deadline,
        encoder: StreamEncoder,
        *,
        allow_fallback: bool,
        receipt_of: Callable[[StreamedAnswer[CountedChunks], Receipt], dict[str, object]],
    ) -> None:
        self._request = request
        self._operation = operation
        self._deadline = deadline
        self._encoder = encoder
        self._allow_fallback = allow_fallback
        self._receipt_of = receipt_of

    async def write(self, writer: EventWriter) -> None:
        """Writes the whole answer, or its beginning and an error. What is to be logged is recorded before the last
        byte. Raises the error itself where nothing has been sent yet.
        """
        answer: StreamedAnswer[CountedChunks] | None = None
        try:
            answer = await bridge_of(self._request).service.stream(
                self._operation, self._deadline, inbound_of(self._request), allow_fallback=self._allow_fallback
            )
            await self._write_answer(answer, writer)
        except (asyncio.CancelledError, ConnectionClosed):
            error = ClientDisconnected() if answer is None else await answer.abandon()
            state_of(self._request).error = error
            raise asyncio.CancelledError from None
        except BridgeError as exc:
            await self._write_error(exc, writer)
        except Exception as exc:  # a mistake in the bridge
            if answer is not None:
                await answer.abandon()
            if not writer.has_begun:
                raise
            await self._write_error(unexpected_error(state_of(self._request).request_id, exc), writer)

    async def _write_answer(self, answer: StreamedAnswer[CountedChunks], writer: EventWriter) -> None:
        add_log_fields(self._request, first_token_ms=answer.first_token_ms)
        writer.headers = answer_headers(*answer.candidate.entry.key, answer.n_attempts, None)
        self._encoder.begin(answer.candidate.entry.model_id)
        async for chunk in answer:
            if events := self._encoder.chunk(chunk):
                await writer.write(events)
        if answer.receipt is None:
            raise RuntimeError("an answer has ended without a receipt")
        await writer.write(self._encoder.end(answer, self._receipt_of(answer, answer.receipt)), is_last=True)

    async def _write_error(self, error: BridgeError, writer: EventWriter) -> None:
        if not writer.has_begun:
            raise error
        state = state_of(self._request)
        state.error = error
        events = self._encoder.error(error, state.request_id, state.report().error_details())
        await writer.write(events, is_last=True)
