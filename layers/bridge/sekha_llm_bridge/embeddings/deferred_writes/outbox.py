"""The outbox: puts batches that Chroma did not store into the queue, and counts them in the pending writes.

A sender first adds the records to the count, then sends them to the queue. The drain first deletes a message from the
queue, then subtracts its records. So the count may be too high for a while; then newer records go to the queue without
need. It is too low only on an instance that read it less than a second ago.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from sekha_llm_bridge.aws.table_time_budget import TableTimeBudget
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage, RecordTooLarge, encode_batch
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import (
    PendingWrites,
    PendingWritesUnavailable,
    group_id_of,
)
from sekha_llm_bridge.embeddings.deferred_writes.queue import MessageQueue, QueueFailed
from sekha_llm_bridge.embeddings.records import Batch

T = TypeVar("T")
_MAX_AGE = timedelta(seconds=1)
_TABLE_TIMEOUT_S = 2.0  # long, because without the table a newer record may be stored before an older one
_MAX_MESSAGE_BYTES = 250_000
# For the estimate of the time that a batch needs.
_BYTES_PER_NUMBER = 6
_BYTES_PER_RECORD = 1_000
_SECONDS_PER_MESSAGE = 0.05
_MIN_ENQUEUE_S = 2.0


class EnqueueFailed(Exception):
    """The records could not be put into the queue; the message says why."""


class Outbox:
    """Puts batches into the queue. If the table does not answer, it uses the last known pending writes."""

    def __init__(self, queue: MessageQueue, pending_writes: PendingWrites, clock: Clock) -> None:
        self._queue = queue
        self._pending_writes = pending_writes
        self._clock = clock
        self._pending_groups: frozenset[str] = frozenset()
        self._read_at: datetime | None = None

    async def refresh_pending(self) -> None:
        """Reads the pending writes, at most once a second. Waits at most 2 s for the table."""
        now = self._clock.now()
        if self._read_at is not None and now - self._read_at < _MAX_AGE:
            return
        counts = await self._answer_in_time(self._pending_writes.counts())
        if counts is not None:
            self._pending_groups, self._read_at = frozenset(counts), now

    def has_pending(self, batch: Batch) -> bool:
        """Returns whether the batch's collection has records in the queue, so that newer ones must be queued too."""
        return _group_of(batch) in self._pending_groups

    async def enqueue(self, batch: Batch) -> int:
        """Puts a batch into the queue. Returns the number of records. Raises `EnqueueFailed`."""
        messages, group = await _encode(batch), _group_of(batch)
        await self._answer_in_time(self._pending_writes.add(group, _count(messages)))
        self._pending_groups |= {group}
        return await self._send(messages, group)

    async def enqueue_if_pending(self, batch: Batch) -> int | None:
        """Puts a batch into the queue if its collection still has records there. Returns the number of records.

        Returns None, and does nothing, if the collection has none. Raises `EnqueueFailed`.
        """
        messages, group = await _encode(batch), _group_of(batch)
        if await self._answer_in_time(self._pending_writes.add_if_pending(group, _count(messages))) is False:
            self._pending_groups -= {group}
            return None
        return await self._send(messages, group)

    async def _send(self, messages: Sequence[EncodedMessage], group: str) -> int:
        try:
            await self._queue.send(messages, group=group)
        except QueueFailed as exc:
            raise EnqueueFailed(str(exc)) from exc
        return _count(messages)

    async def _answer_in_time(self, call: Awaitable[T]) -> T | None:
        """Returns the table's answer, or None if it fails or takes too long."""
        with suppress(PendingWritesUnavailable, TimeoutError):
            return await TableTimeBudget(_TABLE_TIMEOUT_S, self._clock).wait_for(call)
        return None


async def _encode(batch: Batch) -> list[EncodedMessage]:
    """Encodes in a thread: a large batch takes seconds. Called before the records are added to the pending writes."""
    try:
        return await asyncio.to_thread(encode_batch, batch, max_bytes=_MAX_MESSAGE_BYTES)
    except RecordTooLarge as exc:
        raise EnqueueFailed(str(exc)) from exc


def _group_of(batch: Batch) -> str:
    return group_id_of(batch.collection, batch.database)


def _count(messages: Sequence[EncodedMessage]) -> int:
    return sum(message.records for message in messages)


def estimated_enqueue_s(batch: Batch) -> float:
    """Returns the time to reserve for putting a batch into the queue, in seconds."""
    size = sum(_BYTES_PER_NUMBER * len(one.vector) + len(one.document) for one in batch.records)
    messages = (size + _BYTES_PER_RECORD * len(batch.records)) / _MAX_MESSAGE_BYTES
    return _MIN_ENQUEUE_S + _SECONDS_PER_MESSAGE * messages
