"""Where vectors wait while Chroma cannot take them: a queue, and a pending writes of what is in it.

A sender first adds the records to the pending writes, then sends them to the queue. The drain first deletes a message
from the queue, then subtracts its records. So the count may be too high for a while.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

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
_FRESH = timedelta(seconds=1)
_PATIENCE_S = 2.0  # beside the provider's work, or in an outage: better late than out of order
_MESSAGE_BYTES = 250_000
_BYTES_PER_NUMBER = 6
_BYTES_PER_RECORD = 1_000
_SECONDS_PER_MESSAGE = 0.05
_LEAST_S = 2.0


class EnqueueFailed(Exception):
    """The records could not be put into the queue; the message says why."""


class Outbox:
    """The way into the queue. Without a pending writes's answer it goes by what it last knew."""

    def __init__(self, queue: MessageQueue, pending_writes: PendingWrites, clock: Clock) -> None:
        self._queue = queue
        self._pending_writes = pending_writes
        self._clock = clock
        self._waiting: frozenset[str] = frozenset()
        self._read_at: datetime | None = None

    async def refresh_pending(self) -> None:
        """Learns for which collections something waits; asks at most once a second, and waits two at most."""
        now = self._clock.now()
        if self._read_at is not None and now - self._read_at < _FRESH:
            return
        waiting = await _patiently(self._pending_writes.counts())
        if waiting is not None:
            self._waiting, self._read_at = frozenset(waiting), now

    def has_pending(self, collection: str) -> bool:
        """Whether something waits for a collection, so that what is newer has to wait behind it."""
        return group_id_of(collection) in self._waiting

    async def enqueue(self, batch: Batch) -> int:
        """Puts records into the queue, though Chroma may have some of them already: how many there are.

        Raises `EnqueueFailed`.
        """
        messages, group = await _packed(batch), group_id_of(batch.collection)
        await _patiently(self._pending_writes.add(group, _records(messages)))
        self._waiting |= {group}
        return await self._sent(messages, group)

    async def enqueue_if_pending(self, batch: Batch) -> int | None:
        """Puts records behind those that wait, and returns how many; None when nothing waits any more, so that they
        can be stored. Raises `EnqueueFailed`.
        """
        messages, group = await _packed(batch), group_id_of(batch.collection)
        if await _patiently(self._pending_writes.add_if_pending(group, _records(messages))) is False:
            self._waiting -= {group}
            return None
        return await self._sent(messages, group)

    async def _sent(self, messages: Sequence[EncodedMessage], group: str) -> int:
        try:
            await self._queue.send(messages, group=group)
        except QueueFailed as exc:
            raise EnqueueFailed(str(exc)) from exc
        return _records(messages)


async def _patiently(asking: Awaitable[T]) -> T | None:
    """What the pending writes answers, None where it does not in time."""
    with suppress(PendingWritesUnavailable, TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            return await asking
    return None


async def _packed(batch: Batch) -> list[EncodedMessage]:
    """Before the pending writes knows of them: packing takes seconds where there are many."""
    try:
        return await asyncio.to_thread(encode_batch, batch, max_bytes=_MESSAGE_BYTES)
    except RecordTooLarge as exc:
        raise EnqueueFailed(str(exc)) from exc


def _records(messages: Sequence[EncodedMessage]) -> int:
    return sum(message.records for message in messages)


def estimated_enqueue_s(batch: Batch) -> float:
    """How long it may take to put a batch into the queue: so much must be left when Chroma is given up."""
    size = sum(_BYTES_PER_NUMBER * len(one.vector) + len(one.document) for one in batch.records)
    messages = (size + _BYTES_PER_RECORD * len(batch.records)) / _MESSAGE_BYTES
    return _LEAST_S + _SECONDS_PER_MESSAGE * messages
