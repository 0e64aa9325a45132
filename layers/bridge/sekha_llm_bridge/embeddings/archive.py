"""Storing beside answering: what goes wrong with the store is reported, and never costs the caller the vectors."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from sekha_llm_bridge.embeddings.records import Batch, StoreReport
from sekha_llm_bridge.embeddings.store import SpaceMismatch, StoreFailed, VectorStore


class Archive:
    """The way to the vector store; `store` None means that no server is configured."""

    def __init__(self, store: VectorStore | None) -> None:
        self._store = store

    @property
    def is_configured(self) -> bool:
        """Whether there is anywhere to store."""
        return self._store is not None

    def warm(self) -> Awaitable[None]:
        """Starts making the store ready; await it before `keep`."""
        return asyncio.ensure_future(self._warm())

    async def _warm(self) -> None:
        if self._store is not None:
            with suppress(StoreFailed):  # `keep` meets it again, and reports it
                await asyncio.to_thread(self._store.prepare)

    async def keep(self, batch: Batch, *, timeout_s: float) -> StoreReport:
        """Stores a batch within `timeout_s`. Raises only `SpaceMismatch`; every other failure is a note."""
        if self._store is None:
            return StoreReport(None, 0, 0, ("no Chroma server is configured: nothing was stored",))
        try:
            async with asyncio.timeout(timeout_s):
                stored = await asyncio.to_thread(self._store.upsert, batch)
        except SpaceMismatch:
            raise
        except StoreFailed as exc:
            return StoreReport(batch.collection, 0, 0, (f"not stored: {exc}",))
        except TimeoutError:
            return StoreReport(batch.collection, 0, 0, ("not stored in time: Chroma is slow",))
        return StoreReport(batch.collection, stored)
