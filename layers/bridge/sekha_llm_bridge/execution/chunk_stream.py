"""A provider's chunks from the first token on, with their tokens counted."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

from sekha_llm_bridge.pricing import TokenCount, count_texts
from sekha_llm_bridge.providers import ChatChunk
from sekha_llm_bridge.usage import Usage

_COUNTED_AT_ONCE = 65_536
_MOST_HELD = 256  # one for each choice that may be asked for, and some


class ChunkStream:
    """See `ChunkSource`. What the provider does not count is counted here, by estimate; `provider_usage` is its count
    in its
    own words.
    """

    def __init__(self, chunks: AsyncGenerator[ChatChunk], prompt: TokenCount) -> None:
        self._chunks = chunks
        self._held: list[ChatChunk] = []
        self._prompt = prompt
        self._heard: list[str] = []
        self._heard_length = 0
        self._estimate = 0
        self._counted: Usage | None = None
        self.provider_usage: dict[str, Any] | None = None

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
            self._counted, self.provider_usage = chunk.usage, chunk.provider_usage
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
