"""Stores the vectors of a request without failing the request: what goes wrong is in the report.

What Chroma does not take goes to the outbox, and so does every newer batch for the same collection.
"""

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import suppress

from sekha_llm_bridge.embeddings.deferred_writes.outbox import EnqueueFailed, Outbox, estimated_enqueue_s
from sekha_llm_bridge.embeddings.records import Batch, Database, StoreReport
from sekha_llm_bridge.embeddings.store import (
    QuotaExceeded,
    SpaceMismatch,
    StoreDown,
    StoreFailed,
    VectorStore,
    store_in,
)
from sekha_llm_bridge.observability import Metric, code_location, count, logger

_MIN_WRITE_S = 0.3
_MAX_WRITE_S = 12.0  # the drain waits longer; a client should not
_QUEUED_IN_ORDER = "not stored yet: older records of the collection are in the queue, so these are queued behind them"


class EmbeddingStorage:
    """Stores batches in the vector store, or puts them into the outbox.

    Without a `vector_store` no server is configured; without an `outbox` there is no queue.
    """

    def __init__(self, vector_store: VectorStore | None, outbox: Outbox | None = None) -> None:
        self._store = vector_store
        self._outbox = outbox

    @property
    def is_configured(self) -> bool:
        """Whether there is a vector store."""
        return self._store is not None

    def vector_store(self, database: Database | None) -> VectorStore | None:
        """Returns the vector store of a database, for searches; None if there is no server."""
        return store_in(self._store, database) if self._store is not None else None

    def preload(self) -> Awaitable[None]:
        """Starts preparing the store in the background. Await the result before `save`."""
        return asyncio.ensure_future(self._preload())

    async def _preload(self) -> None:
        if self._outbox is not None:
            await self._outbox.refresh_pending()  # first, because the import blocks the processor
        if self._store is not None:
            with suppress(StoreFailed):  # `save` fails in the same way, and reports it
                await asyncio.to_thread(self._store.prepare)

    async def save(self, batch: Batch, *, timeout_s: float) -> StoreReport:
        """Stores a batch within `timeout_s`, or queues it. Raises only `SpaceMismatch`; the report has all else."""
        if self._store is None:
            return StoreReport(None, 0, 0, ("no Chroma server is configured: nothing was stored",))
        limit_s = max(timeout_s, _MIN_WRITE_S) if self._outbox is not None else None  # for both steps together
        try:
            async with asyncio.timeout(limit_s):
                return await self._store_or_enqueue(store_in(self._store, batch.database), batch, timeout_s)
        except (EnqueueFailed, TimeoutError) as exc:
            reason = str(exc) or "there was no time left"
            logger().error("vectors lost", extra={"collection": batch.collection, "reason": reason})
            count(Metric.VECTORS_LOST)
            return StoreReport(batch.collection, 0, 0, (f"not stored, and not kept for later: {reason}",))

    async def _store_or_enqueue(self, store: VectorStore, batch: Batch, timeout_s: float) -> StoreReport:
        outbox = self._outbox
        if outbox is not None and (pending := await _enqueue_behind_older(outbox, batch)) is not None:
            return StoreReport(batch.collection, 0, pending, (_QUEUED_IN_ORDER,))
        reserved_s = estimated_enqueue_s(batch) if outbox is not None else 0.0
        try:
            stored = await _upsert(store, batch, min(_MAX_WRITE_S, timeout_s - reserved_s))
            return StoreReport(batch.collection, stored)
        except SpaceMismatch:
            raise
        except StoreFailed as exc:
            logger().warning("vectors not stored", extra={"collection": batch.collection, "reason": str(exc)})
            count(Metric.STORE_UNAVAILABLE)
            if outbox is None or not isinstance(exc, StoreDown):
                stored = exc.stored if isinstance(exc, QuotaExceeded) else 0
                return StoreReport(batch.collection, stored, 0, (f"not stored: {exc}",))
            note = f"not stored yet: {exc}; it is stored when Chroma is back"
            return StoreReport(batch.collection, 0, await outbox.enqueue(batch), (note,))


async def _enqueue_behind_older(outbox: Outbox, batch: Batch) -> int | None:
    """Queues the batch if its collection has older records in the queue. Returns the number of records.

    Returns None if the batch is not queued, also if queueing fails: stored out of order is better than lost.
    """
    await outbox.refresh_pending()  # again, in case the table did not answer during `preload`
    with suppress(EnqueueFailed):
        return await outbox.enqueue_if_pending(batch) if outbox.has_pending(batch) else None
    return None


async def _upsert(store: VectorStore, batch: Batch, timeout_s: float) -> int:
    """Writes the batch in a thread. Raises `StoreFailed`; also for a bug, because the vectors are already paid for."""
    if timeout_s < _MIN_WRITE_S:
        raise StoreDown("there is no time left for Chroma")
    is_abandoned = threading.Event()
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.to_thread(store.upsert, batch, should_continue=lambda: not is_abandoned.is_set())
    except TimeoutError as exc:
        raise StoreDown("Chroma is slow") from exc
    except StoreFailed:
        raise
    except Exception as exc:
        logger().error("unexpected error while storing", extra={"code_location": code_location(exc)})
        raise StoreDown("the bridge could not store them; its log says where") from exc
    finally:
        is_abandoned.set()  # the thread may continue much later, when newer records are already stored
