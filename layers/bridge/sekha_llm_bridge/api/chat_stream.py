"""A chat answer as it comes: OpenAI's chunks, then the receipt and `[DONE]`; or an error, and never `[DONE]`."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

from fastapi import Request

from sekha_llm_bridge.api.app import note, note_error, note_receipt, unexpected
from sekha_llm_bridge.api.chat_answer import bridge_body, usage_body
from sekha_llm_bridge.api.errors import envelope
from sekha_llm_bridge.api.sse import DONE, EventWriter, NobodyListens, event
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import Receipt, StreamedAnswer
from sekha_llm_bridge.execution.receipt import answer_headers
from sekha_llm_bridge.pricing import TokenCount, count_texts
from sekha_llm_bridge.providers import ChatChunk
from sekha_llm_bridge.usage import Usage

_COUNTED_AT_ONCE = 65_536
_MOST_HELD = 256  # one for each choice that may be asked for, and some
_FRAME = ("id", "object", "created", "model")


class ChunkStream:
    """A provider's chunks from the first token on; what it does not count itself is counted here, by estimate.

    `own_usage` is its count in its own words.
    """

    def __init__(self, chunks: AsyncGenerator[ChatChunk], prompt: TokenCount) -> None:
        self._chunks = chunks
        self._held: list[ChatChunk] = []
        self._prompt = prompt
        self._heard: list[str] = []
        self._heard_length = 0
        self._estimate = 0
        self._counted: Usage | None = None
        self.own_usage: dict[str, Any] | None = None

    @classmethod
    async def begun(cls, chunks: AsyncGenerator[ChatChunk], prompt: TokenCount) -> Self:
        """Returns when the first token is there. Raises `ProviderError` where none comes."""
        stream = cls(chunks, prompt)
        try:
            while not (chunk := await anext(chunks)).is_progress:
                stream._held = [*stream._held, chunk][:_MOST_HELD]
        except BaseException:
            await chunks.aclose()
            raise
        stream._held = [chunk, *reversed(stream._held)]
        return stream

    @property
    def is_estimated(self) -> bool:
        """Whether `usage` is not the provider's own."""
        return self._counted is None

    @property
    def usage(self) -> Usage:
        """What was used, as far as it has come."""
        if self._counted is not None:
            return self._counted
        self._count_heard()
        return Usage(self._prompt.estimate, self._estimate)

    async def __anext__(self) -> ChatChunk:
        """The next chunk."""
        chunk = self._held.pop() if self._held else await anext(self._chunks)
        if chunk.usage is not None:
            self._counted, self.own_usage = chunk.usage, chunk.own_usage
        self._hear(chunk)
        return chunk

    async def aclose(self) -> None:
        """Breaks off what has not ended."""
        await self._chunks.aclose()

    def _hear(self, chunk: ChatChunk) -> None:
        for choice in chunk.body["choices"]:
            for text in _texts(choice["delta"]):
                self._heard.append(text)
                self._heard_length += len(text)
        if self._heard_length > _COUNTED_AT_ONCE:
            self._count_heard()

    def _count_heard(self) -> None:
        """Counts what was kept for it, and forgets it: an answer may be longer than memory."""
        self._estimate += count_texts(["".join(self._heard)]).estimate
        self._heard, self._heard_length = [], 0


def _texts(delta: Mapping[str, Any]) -> list[str]:
    texts = [value for name, value in delta.items() if isinstance(value, str) and name != "role"]
    calls = delta.get("tool_calls") or ()
    return texts + [str((call.get("function") or {}).get("arguments") or "") for call in calls]


class ChunkEvents:
    """The events of an answer's chunks. What they say goes out at once; the finish reasons come together in the chunk
    that ends the answer, which waits until all is settled. So none is seen before the end, whoever sends them early.

    What a vendor tells in a chunk without choices goes with the next that has some: many clients look at the first
    choice of whatever comes.
    """

    def __init__(self, *, with_usage: bool) -> None:
        self._more = {"usage": None} if with_usage else {}
        self._with_usage = with_usage
        self._aside: dict[str, Any] = {}
        self._frame: dict[str, Any] = {}
        self._ends: dict[int, dict[str, Any]] = {}

    def of(self, chunk: ChatChunk) -> bytes:
        """The event that can go out by now, or nothing."""
        body, choices = chunk.body, [said for choice in chunk.body["choices"] if (said := self._said(choice))]
        self._frame = {name: value for name, value in body.items() if name in _FRAME}
        if not choices:
            self._aside |= {name: value for name, value in body.items() if name not in {*_FRAME, "choices"}}
            return b""
        aside, self._aside = self._aside, {}
        return event({**aside, **body, "choices": choices, **self._more})

    def end(self, usage: Mapping[str, Any], receipt: Mapping[str, object]) -> bytes:
        """The rest of a whole answer."""
        ends = [self._ends[index] for index in sorted(self._ends)]
        last = {**self._aside, **self._frame, "choices": ends, **self._more}
        if not self._with_usage:
            return event({**last, "bridge": receipt}) + DONE
        return event(last) + event({**self._frame, "choices": [], "usage": usage, "bridge": receipt}) + DONE

    def _said(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        """What is to be told of a choice now: nothing of one that only ends. Its delta waits with the end."""
        waiting = self._ends.get(choice["index"])
        if waiting is not None and waiting["delta"]:
            choice = {**choice, "delta": {**waiting["delta"], **choice["delta"]}}
            self._ends[choice["index"]] = {**waiting, "delta": {}}
        if choice["finish_reason"] is None:
            return choice
        says_more = any(value for name, value in choice["delta"].items() if name != "role")
        self._ends[choice["index"]] = {**choice, "delta": {}} if says_more else choice
        return {**choice, "finish_reason": None} if says_more else None


class ChatTelling:
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
        except (asyncio.CancelledError, NobodyListens):
            note_error(self._request, await self._answer.abandon())
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
        note_error(self._request, error)
        await writer.write(event(envelope(error, self._request_id)), is_last=True)

    @property
    def _request_id(self) -> str:
        return str(self._request.scope["state"]["request_id"])

    async def _tell(self, writer: EventWriter) -> None:
        answer = self._answer
        await answer.begin()
        note(self._request, first_token_ms=answer.first_token_ms)
        entry = answer.candidate.entry
        writer.headers = answer_headers(entry.provider.id, entry.model.model_id, answer.attempts, None)
        async for chunk in answer:
            if events := self._events.of(chunk):
                await writer.write(events)
        if answer.receipt is None:
            raise RuntimeError("an answer has ended without a receipt")
        note_receipt(self._request, answer.receipt)
        await writer.write(self._end(answer.receipt), is_last=True)

    def _end(self, receipt: Receipt) -> bytes:
        source, candidate = self._answer.source, self._answer.candidate
        usage = usage_body(source.usage, source.own_usage, is_estimated=source.is_estimated)
        told = bridge_body(receipt, candidate, self._sent, is_estimated=source.is_estimated)
        return self._events.end(usage, told)
