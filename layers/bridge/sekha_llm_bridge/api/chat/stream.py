"""A chat answer as it comes: OpenAI's chunks, then the receipt and `[DONE]`; or an error, and never `[DONE]`."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from sekha_llm_bridge.api.app import add_log_fields, log_error, log_receipt, unexpected
from sekha_llm_bridge.api.chat.events import ChunkEvents
from sekha_llm_bridge.api.chat.response import bridge_body, usage_body
from sekha_llm_bridge.api.envelope import envelope
from sekha_llm_bridge.api.sse import ConnectionClosed, EventWriter, event
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import Receipt, StreamedAnswer
from sekha_llm_bridge.execution.chunk_stream import ChunkStream
from sekha_llm_bridge.execution.receipt import answer_headers


class ChatStreamWriter:
    """Tells one caller one answer."""

    def __init__(
        self, request: Request, answer: StreamedAnswer[ChunkStream], sent: Mapping[str, Any], *, with_usage: bool
    ) -> None:
        self._request = request
        self._answer = answer
        self._sent = sent
        self._events = ChunkEvents(with_usage=with_usage)

    async def produce(self, writer: EventWriter) -> None:
        """Writes the whole answer, or its beginning and what ended it. Everything is noted before the last byte."""
        try:
            await self._tell(writer)
        except (asyncio.CancelledError, ConnectionClosed):
            log_error(self._request, await self._answer.abandon())
            raise asyncio.CancelledError from None
        except BridgeError as exc:
            await self._fail(exc, writer)
        except Exception as exc:  # a mistake of the bridge's
            await self._answer.abandon()
            if not writer.has_begun:
                raise
            await self._fail(unexpected(self._request_id, exc), writer)

    async def _fail(self, error: BridgeError, writer: EventWriter) -> None:
        if not writer.has_begun:
            raise error
        log_error(self._request, error)
        await writer.write(event(envelope(error, self._request_id)), is_last=True)

    @property
    def _request_id(self) -> str:
        return str(self._request.scope["state"]["request_id"])

    async def _tell(self, writer: EventWriter) -> None:
        answer = self._answer
        await answer.begin()
        add_log_fields(self._request, first_token_ms=answer.first_token_ms)
        entry = answer.candidate.entry
        writer.headers = answer_headers(entry.provider.id, entry.model.model_id, answer.attempts, None)
        async for chunk in answer:
            if events := self._events.of(chunk):
                await writer.write(events)
        if answer.receipt is None:
            raise RuntimeError("an answer has ended without a receipt")
        log_receipt(self._request, answer.receipt)
        await writer.write(self._end(answer.receipt), is_last=True)

    def _end(self, receipt: Receipt) -> bytes:
        source, candidate = self._answer.source, self._answer.candidate
        usage = usage_body(source.usage, source.provider_usage, is_estimated=source.is_estimated)
        told = bridge_body(receipt, candidate, self._sent, is_estimated=source.is_estimated)
        return self._events.end(usage, told)
