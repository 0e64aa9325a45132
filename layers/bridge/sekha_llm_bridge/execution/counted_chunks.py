"""A provider's chunks from the first token on, with their tokens counted."""

from collections.abc import AsyncGenerator
from typing import Self

from sekha_llm_bridge.conversation import AnswerChunk, Json
from sekha_llm_bridge.execution.output_estimate import OutputEstimate
from sekha_llm_bridge.pricing import TokenCount
from sekha_llm_bridge.usage import Usage

_MAX_HELD_CHUNKS = 256  # one for each choice that may be requested, and some more


class CountedChunks:
    """A `ChunkSource` over a provider's stream. Where the provider does not count its tokens, they are estimated.

    `provider_usage` is the provider's own `usage` object, as it was sent; `left_out` is that of `ChatAnswer`.
    """

    def __init__(self, chunks: AsyncGenerator[AnswerChunk], prompt: TokenCount) -> None:
        self._chunks = chunks
        self._held: list[AnswerChunk] = []
        self._prompt = prompt
        self._output = OutputEstimate()
        self._provider_count: Usage | None = None
        self.provider_usage: Json | None = None
        self.left_out: tuple[str, ...] = ()

    @classmethod
    async def open(cls, chunks: AsyncGenerator[AnswerChunk], prompt: TokenCount) -> Self:
        """Returns when the first token has arrived. Raises `ProviderError` where none arrives."""
        stream = cls(chunks, prompt)
        try:
            while not (chunk := await anext(chunks)).is_progress:
                stream._held = [*stream._held, chunk][:_MAX_HELD_CHUNKS]
        except BaseException:
            await chunks.aclose()
            raise
        stream._held = [chunk, *reversed(stream._held)]
        return stream

    @property
    def is_estimated(self) -> bool:
        """Whether `usage` is an estimate, not the provider's own count."""
        return self._provider_count is None

    @property
    def usage(self) -> Usage:
        """The tokens used so far."""
        return self._provider_count or Usage(self._prompt.estimate, self._output.tokens)

    async def __anext__(self) -> AnswerChunk:
        """Returns the next chunk. See `ChunkSource`."""
        chunk = self._held.pop() if self._held else await anext(self._chunks)
        if chunk.usage is not None:
            self._provider_count, self.provider_usage = chunk.usage, chunk.provider_usage
        if chunk.left_out:
            self.left_out = chunk.left_out
        for delta in chunk.choices:
            self._output.add(delta)
        return chunk

    async def aclose(self) -> None:
        """Cancels what has not ended."""
        await self._chunks.aclose()
