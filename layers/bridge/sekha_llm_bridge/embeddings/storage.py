"""Storing beside answering: what goes wrong with the store is reported, and never costs the caller the vectors.

What Chroma does not take waits in the outbox, and behind it whatever is newer for the same collection.
"""

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import suppress

from sekha_llm_bridge.embeddings.deferred_writes.outbox import EnqueueFailed, Outbox, estimated_enqueue_s
from sekha_llm_bridge.embeddings.records import Batch, StoreReport
from sekha_llm_bridge.embeddings.store import SpaceMismatch, StoreDown, StoreFailed, VectorStore
from sekha_llm_bridge.observability import Metric, code_location, count, logger

_WAITS = "not stored yet: it waits behind what could not be stored before"
_LEAST_S = 0.3
_MOST_S = 12.0  # a write that takes longer is better waited for by the drain than by a caller


class EmbeddingStorage:
    """The way to the vector store. Without a `store` no server is configured; without an `outbox` nothing can wait."""

    def __init__(self, store: VectorStore | None, outbox: Outbox | None = None) -> None:
        self._store = store
        self._outbox = outbox

    @property
    def is_configured(self) -> bool:
        """Whether there is anywhere to store."""
        return self._store is not None

    @property
    def vector_store(self) -> VectorStore | None:
        """The store itself, to be searched; None where there is none."""
        return self._store

    def preload(self) -> Awaitable[None]:
        """Starts making the store ready; await it before `save`."""
        return asyncio.ensure_future(self._preload())

    async def _preload(self) -> None:
        if self._outbox is not None:
            await self._outbox.refresh_pending()  # first: the import takes the processor for itself
        if self._store is not None:
            with suppress(StoreFailed):  # `save` meets it again, and reports it
                await asyncio.to_thread(self._store.prepare)

    async def save(self, batch: Batch, *, timeout_s: float) -> StoreReport:
        """Stores a batch within `timeout_s`, or has it wait. Raises only `SpaceMismatch`; all else is in the report."""
        if self._store is None:
            return StoreReport(None, 0, 0, ("no Chroma server is configured: nothing was stored",))
        try:
            async with asyncio.timeout(max(timeout_s, _LEAST_S)):
                return await self._store_or_wait(self._store, batch, timeout_s)
        except (EnqueueFailed, TimeoutError) as exc:
            why = str(exc) or "there was no time left"
            logger().error("vectors lost", extra={"collection": batch.collection, "reason": why})
            count(Metric.VECTORS_LOST)
            return StoreReport(batch.collection, 0, 0, (f"not stored, and not kept for later: {why}",))

    async def _store_or_wait(self, store: VectorStore, batch: Batch, timeout_s: float) -> StoreReport:
        outbox = self._outbox
        if outbox is not None and (pending := await _behind_others(outbox, batch)) is not None:
            return StoreReport(batch.collection, 0, pending, (_WAITS,))
        reserved_s = estimated_enqueue_s(batch) if outbox is not None else 0.0
        try:
            return StoreReport(batch.collection, await _stored(store, batch, min(_MOST_S, timeout_s - reserved_s)))
        except SpaceMismatch:
            raise
        except StoreFailed as exc:
            _note(batch, exc)
            if outbox is None or not isinstance(exc, StoreDown):
                return StoreReport(batch.collection, 0, 0, (f"not stored: {exc}",))
            note = f"not stored yet: {exc}; it is stored when Chroma is back"
            return StoreReport(batch.collection, 0, await outbox.enqueue(batch), (note,))


async def _behind_others(outbox: Outbox, batch: Batch) -> int | None:
    """How many records wait behind those that wait already; None when they can be stored, or have to be tried: better
    out of order than not at all.
    """
    await outbox.refresh_pending()  # where the first look had no answer
    with suppress(EnqueueFailed):
        return await outbox.enqueue_if_pending(batch) if outbox.has_pending(batch.collection) else None
    return None


def _note(batch: Batch, failure: StoreFailed) -> None:
    logger().warning("vectors not stored", extra={"collection": batch.collection, "reason": str(failure)})
    count(Metric.STORE_UNAVAILABLE)


async def _stored(store: VectorStore, batch: Batch, timeout_s: float) -> int:
    if timeout_s < _LEAST_S:
        raise StoreDown("there is no time left for Chroma")
    given_up = threading.Event()
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.to_thread(store.upsert, batch, should_continue=lambda: not given_up.is_set())
    except TimeoutError as exc:
        raise StoreDown("Chroma is slow") from exc
    except StoreFailed:
        raise
    except Exception as exc:  # a mistake of the bridge's must not cost the caller what was paid for
        logger().error("unexpected error while storing", extra={"code_location": code_location(exc)})
        raise StoreDown("the bridge could not store them; its log says where") from exc
    finally:
        given_up.set()  # the thread may wake up much later, when newer records are there
