"""Where vectors wait while Chroma cannot take them: a queue, and a ledger of what is in it.

Whoever sends writes in the ledger first and to the queue then; whoever stores what comes out of the queue (`drain`)
deletes it there first. So the ledger may say too much for a while, and then newer records take the longer way for
nothing; it hardly ever says too little, but for the second that an instance's look at it is valid.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import Parcel, ParcelTooLarge, pack
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import Ledger, LedgerUnavailable, group_of
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


class NotQueued(Exception):
    """The records could not be put into the queue; the message says why."""


class Outbox:
    """The way into the queue. Without a ledger's answer it goes by what it last knew."""

    def __init__(self, queue: MessageQueue, ledger: Ledger, clock: Clock) -> None:
        self._queue = queue
        self._ledger = ledger
        self._clock = clock
        self._waiting: frozenset[str] = frozenset()
        self._read_at: datetime | None = None

    async def look(self) -> None:
        """Learns for which collections something waits; asks at most once a second, and waits two at most."""
        now = self._clock.now()
        if self._read_at is not None and now - self._read_at < _FRESH:
            return
        waiting = await _patiently(self._ledger.waiting())
        if waiting is not None:
            self._waiting, self._read_at = frozenset(waiting), now

    def holds(self, collection: str) -> bool:
        """Whether something waits for a collection, so that what is newer has to wait behind it."""
        return group_of(collection) in self._waiting

    async def put(self, batch: Batch) -> int:
        """Puts records into the queue, though Chroma may have some of them already: how many there are.

        Raises `NotQueued`.
        """
        parcels, group = await _packed(batch), group_of(batch.collection)
        await _patiently(self._ledger.begin(group, _records(parcels)))
        self._waiting |= {group}
        return await self._sent(parcels, group)

    async def put_behind_others(self, batch: Batch) -> int | None:
        """Puts records behind those that wait, and returns how many; None when nothing waits any more, so that they
        can be stored. Raises `NotQueued`.
        """
        parcels, group = await _packed(batch), group_of(batch.collection)
        if await _patiently(self._ledger.join(group, _records(parcels))) is False:
            self._waiting -= {group}
            return None
        return await self._sent(parcels, group)

    async def _sent(self, parcels: Sequence[Parcel], group: str) -> int:
        try:
            await self._queue.send(parcels, group=group)
        except QueueFailed as exc:
            raise NotQueued(str(exc)) from exc
        return _records(parcels)


async def _patiently(asking: Awaitable[T]) -> T | None:
    """What the ledger answers, None where it does not in time."""
    with suppress(LedgerUnavailable, TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            return await asking
    return None


async def _packed(batch: Batch) -> list[Parcel]:
    """Before the ledger knows of them: packing takes seconds where there are many."""
    try:
        return await asyncio.to_thread(pack, batch, most_bytes=_MESSAGE_BYTES)
    except ParcelTooLarge as exc:
        raise NotQueued(str(exc)) from exc


def _records(parcels: Sequence[Parcel]) -> int:
    return sum(parcel.records for parcel in parcels)


def seconds_to_queue(batch: Batch) -> float:
    """How long it may take to put a batch into the queue: so much must be left when Chroma is given up."""
    size = sum(_BYTES_PER_NUMBER * len(one.vector) + len(one.document) for one in batch.records)
    messages = (size + _BYTES_PER_RECORD * len(batch.records)) / _MESSAGE_BYTES
    return _LEAST_S + _SECONDS_PER_MESSAGE * messages
