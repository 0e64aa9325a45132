"""The drain: stores the queue's messages in order when Chroma takes them again.

A message is deleted only after Chroma has stored its records. So a drain that was killed is continued by the next one:
storing the same records again changes nothing. Messages that Chroma will never take go to the dead-letter queue.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import InvalidMessage, decode_batch
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import PendingWrites, PendingWritesUnavailable
from sekha_llm_bridge.embeddings.deferred_writes.queue import Message, MessageQueue
from sekha_llm_bridge.embeddings.records import Batch
from sekha_llm_bridge.embeddings.store import (
    CollectionMissing,
    NameTaken,
    QuotaExceeded,
    StoreDown,
    StoreFailed,
    VectorStore,
    store_in,
)
from sekha_llm_bridge.observability import Metric, code_location, count, logger

MAX_EMPTY_RECEIVES = 3  # of about a second each: SQS may return nothing once or twice although it has messages
_RECEIVES_WITHOUT_DELAY = 10
_DELAY_PER_RECEIVE_S = 60
_MAX_DELAY_S = 1_200


@dataclass
class DrainReport:
    """The result of one drain. `stored` and `rejected` count records.

    `left` is the approximate number of messages still in the queue, and `note` says why they are.
    """

    stored: int = 0
    rejected: int = 0
    left: int = 0
    note: str | None = None


class Drain:
    """Stores what is in the queue. It assumes that the queue is empty after `max_empty_receives` empty receives in a
    row."""

    def __init__(
        self,
        queue: MessageQueue,
        pending_writes: PendingWrites,
        store: VectorStore,
        server: ChromaServer,
        clock: Clock,
        *,
        max_empty_receives: int = MAX_EMPTY_RECEIVES,
    ) -> None:
        self._queue = queue
        self._pending_writes = pending_writes
        self._store = store
        self._server = server
        self._clock = clock
        self._max_empty_receives = max_empty_receives

    async def run(self, *, until_s: float) -> DrainReport:
        """Stores the queue's messages. Starts nothing after `until_s` (the clock's monotonic time).

        Raises `QueueFailed`.
        """
        report = DrainReport(left=await self._queue.size())
        if not report.left and not await self._pending_counts():
            return report
        if not await self._is_up():
            report.note = "Chroma does not answer"
            return report
        was_emptied = await self._empty_queue(report, until_s)
        report.left = await self._queue.size()
        if was_emptied and not report.left:  # the size includes messages that another drain is processing
            await self._reconcile_counts(await self._pending_counts())
        return report

    async def _empty_queue(self, report: DrainReport, until_s: float) -> bool:
        """Processes messages until the queue is empty or the time is over. Returns whether the queue is empty.

        If Chroma does not take a message, the later messages of its group are put back too, to keep the order.
        """
        unstored: dict[str, list[Message]] = {}
        empty_receives = 0
        while empty_receives < self._max_empty_receives and self._clock.monotonic_s() < until_s:
            messages = await self._queue.receive()
            empty_receives = 0 if messages else empty_receives + 1
            for message in messages:
                is_late = self._clock.monotonic_s() >= until_s
                if message.group in unstored or is_late or not await self._process(message, report):
                    unstored.setdefault(message.group, []).append(message)
            if unstored and not await self._is_up():
                break
        for messages in unstored.values():
            for message in messages:
                await self._queue.put_back(message, hidden_s=_retry_delay_s(message))
        if unstored:
            report.note = "Chroma has not taken all of it yet"
        return empty_receives == self._max_empty_receives and not unstored

    async def _process(self, message: Message, report: DrainReport) -> bool:
        """Stores or rejects one message. Returns False if it must stay in the queue."""
        try:
            batch = decode_batch(message.body)
        except InvalidMessage as exc:
            await self._reject(message, {"reason": str(exc)})
            return True
        try:
            await asyncio.to_thread(store_in(self._store, batch.database).upsert, batch)
        except (StoreDown, CollectionMissing, NameTaken) as exc:
            logger().warning("pending vectors not stored", extra={"reason": str(exc), **_place(batch)})
            return False
        except StoreFailed as exc:
            await self._reject(message, {"reason": str(exc), **_place(batch)})
            stored = exc.stored if isinstance(exc, QuotaExceeded) else 0
            report.stored += stored
            report.rejected += len(batch.records) - stored
        except Exception as exc:  # noqa: BLE001 — a bug that affects one message must not block the others
            logger().error(
                "unexpected error while storing pending vectors", extra={"code_location": code_location(exc)}
            )
            return False
        else:
            await self._queue.delete(message)
            report.stored += len(batch.records)
        try:
            await self._pending_writes.subtract(message.group, len(batch.records))
        except PendingWritesUnavailable as exc:  # the count is too high until the queue is found empty
            _log_unavailable(exc)
        return True

    async def _reject(self, message: Message, details: Mapping[str, str]) -> None:
        logger().error("pending vectors rejected", extra=dict(details))
        count(Metric.VECTORS_REJECTED)
        await self._queue.reject(message)

    async def _is_up(self) -> bool:
        try:
            return await asyncio.to_thread(self._server.is_up)
        except StoreDown as exc:
            logger().warning("Chroma cannot be used", extra={"reason": str(exc)})
            return False

    async def _pending_counts(self) -> Mapping[str, int]:
        try:
            return await self._pending_writes.counts()
        except PendingWritesUnavailable as exc:
            _log_unavailable(exc)
            return {}

    async def _reconcile_counts(self, groups: Iterable[str]) -> None:
        """Corrects the counts that are above 0 although the queue is empty."""
        try:
            for group in groups:
                await self._pending_writes.reconcile_empty(group)
        except PendingWritesUnavailable as exc:
            _log_unavailable(exc)


def _place(batch: Batch) -> dict[str, str]:
    """Returns the log fields that say where the batch belongs."""
    database = {} if batch.database is None else {"database": str(batch.database)}
    return {"collection": batch.collection, **database}


def _log_unavailable(exc: PendingWritesUnavailable) -> None:
    logger().warning("pending writes unavailable", extra={"reason": str(exc)})


def _retry_delay_s(message: Message) -> int:
    """Returns how long to hide a message that Chroma did not store although it answers.

    SQS moves a message to the dead-letter queue after 1,000 receives. With these delays that takes longer than the
    14 days for which SQS keeps a message.
    """
    return min(max(message.receive_count - _RECEIVES_WITHOUT_DELAY, 0) * _DELAY_PER_RECEIVE_S, _MAX_DELAY_S)
