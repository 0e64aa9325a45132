"""Storing what has waited: the queue's messages in order, as soon as Chroma takes them again.

A message is deleted when Chroma has its records, so whatever ends a drain halfway, the next one goes on; storing the
same records again changes nothing. What Chroma will never take is put aside for somebody to look at.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import InvalidMessage, decode_batch
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import PendingWrites, PendingWritesUnavailable
from sekha_llm_bridge.embeddings.deferred_writes.queue import Message, MessageQueue
from sekha_llm_bridge.embeddings.store import CollectionMissing, NameTaken, StoreDown, StoreFailed, VectorStore
from sekha_llm_bridge.observability import Metric, count, logger, where

_QUIET_LOOKS = 3  # of about a second each: SQS may overlook a message, or two
_EAGER = 10
_LONGEST_REST_S = 1_200


@dataclass
class DrainReport:
    """What one drain did, in records; `left` is about how many messages are still there, and `note` why."""

    stored: int = 0
    rejected: int = 0
    left: int = 0
    note: str | None = None


class Drain:
    """Empties the queue into the store. After so many `max_empty_receives` in a row, the queue is taken to be empty."""

    def __init__(
        self,
        queue: MessageQueue,
        pending_writes: PendingWrites,
        store: VectorStore,
        server: ChromaServer,
        clock: Clock,
        *,
        max_empty_receives: int = _QUIET_LOOKS,
    ) -> None:
        self._queue = queue
        self._pending_writes = pending_writes
        self._store = store
        self._server = server
        self._clock = clock
        self._quiet_looks = max_empty_receives

    async def run(self, *, until_s: float) -> DrainReport:
        """Stores what waits; begins nothing after `until_s` of the clock's monotonic time. Raises `QueueFailed`."""
        done = DrainReport(left=await self._queue.size())
        if not done.left and not await self._waiting():
            return done
        if not await self._is_up():
            done.note = "Chroma does not answer"
            return done
        was_emptied = await self._empty(done, until_s)
        done.left = await self._queue.size()
        if was_emptied and not done.left:  # what others hold is counted, so nobody else is at it either
            await self._settle_counts(await self._waiting())
        return done

    async def _empty(self, done: DrainReport, until_s: float) -> bool:
        """Whether the queue was found empty. Where Chroma does not take a message, the rest of its collection stays."""
        held: dict[str, list[Message]] = {}
        quiet = 0
        while quiet < self._quiet_looks and self._clock.monotonic_s() < until_s:
            messages = await self._queue.receive()
            quiet = 0 if messages else quiet + 1
            for message in messages:
                is_late = self._clock.monotonic_s() >= until_s
                if message.group in held or is_late or not await self._settle(message, done):
                    held.setdefault(message.group, []).append(message)
            if held and not await self._is_up():
                break
        for messages in held.values():
            for message in messages:
                await self._queue.put_back(message, hidden_s=_rest_s(message))
        if held:
            done.note = "Chroma has not taken all of it yet"
        return quiet == self._quiet_looks and not held

    async def _settle(self, message: Message, done: DrainReport) -> bool:
        """Stores one message, or puts it aside; whether it is done with."""
        try:
            batch = decode_batch(message.body)
        except InvalidMessage as exc:
            await self._reject(message, str(exc))
            return True
        try:
            await asyncio.to_thread(self._store.upsert, batch)
        except (StoreDown, CollectionMissing, NameTaken) as exc:
            logger().warning("waiting vectors not stored", extra={"reason": str(exc)})
            return False
        except StoreFailed as exc:
            await self._reject(message, str(exc))
            done.rejected += len(batch.records)
        except Exception as exc:  # noqa: BLE001 — a mistake in one message must not keep the others from being stored
            logger().error("unexpected error in waiting vectors", extra={"where": where(exc)})
            return False
        else:
            await self._queue.delete(message)
            done.stored += len(batch.records)
        await self._note(message.group, len(batch.records))
        return True

    async def _reject(self, message: Message, why: str) -> None:
        logger().error("waiting vectors put aside", extra={"reason": why})
        count(Metric.VECTORS_REJECTED)
        await self._queue.reject(message)

    async def _is_up(self) -> bool:
        try:
            return await asyncio.to_thread(self._server.is_up)
        except StoreDown as exc:
            logger().warning("Chroma cannot be used", extra={"reason": str(exc)})
            return False

    async def _waiting(self) -> Mapping[str, int]:
        try:
            return await self._pending_writes.counts()
        except PendingWritesUnavailable as exc:
            logger().warning("pending_writes unavailable", extra={"reason": str(exc)})
            return {}

    async def _note(self, group: str, records: int) -> None:
        try:
            await self._pending_writes.subtract(group, records)
        except PendingWritesUnavailable as exc:  # it says too much until the queue is found empty
            logger().warning("pending_writes unavailable", extra={"reason": str(exc)})

    async def _settle_counts(self, groups: Iterable[str]) -> None:
        """Nothing waits, whatever the pending writes says; but something may be on its way."""
        try:
            for group in groups:
                await self._pending_writes.reconcile_empty(group)
        except PendingWritesUnavailable as exc:
            logger().warning("pending_writes unavailable", extra={"reason": str(exc)})


def _rest_s(message: Message) -> int:
    """How long to leave a message that Chroma did not take, though it is up: SQS puts aside what it has handed out a
    thousand times, and it is to last for the fourteen days.
    """
    return min(max(message.receive_count - _EAGER, 0) * 60, _LONGEST_REST_S)
