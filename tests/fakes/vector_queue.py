"""A queue and pending writes in memory, with the same behaviour as those on SQS and DynamoDB."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage
from sekha_llm_bridge.embeddings.deferred_writes.pending_count import (
    PendingCount,
    StoreLowest,
    SubtractLeftover,
    reconcile_with_empty_queue,
)
from sekha_llm_bridge.embeddings.deferred_writes.queue import Message


class MemoryQueue:
    """A `MessageQueue`. A received message is hidden until it is deleted, put back, or `unhide_all` is called."""

    def __init__(self) -> None:
        self._messages: dict[int, tuple[str, str]] = {}
        self._hidden: set[int] = set()
        self._numbers = count()
        self.rejected: list[str] = []

    async def send(self, messages: Sequence[EncodedMessage], *, group: str) -> None:
        for message in messages:
            self._messages[next(self._numbers)] = (group, message.body)

    async def receive(self) -> list[Message]:
        locked = {self._messages[number][0] for number in self._hidden}
        free = [(number, *one) for number, one in self._messages.items() if one[0] not in locked][:10]
        self._hidden.update(number for number, _, _ in free)
        return [Message(str(number), group, body) for number, group, body in free]

    async def delete(self, message: Message) -> None:
        self._messages.pop(int(message.handle), None)
        self._hidden.discard(int(message.handle))

    async def put_back(self, message: Message, *, hidden_s: int = 0) -> None:
        self._hidden.discard(int(message.handle))

    async def reject(self, message: Message) -> None:
        self.rejected.append(message.body)
        await self.delete(message)

    async def size(self) -> int:
        return len(self._messages)

    def unhide_all(self) -> None:
        """Makes the messages of a receiver that died receivable again."""
        self._hidden.clear()


class MemoryPendingWrites:
    """A `PendingWrites`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._lowest: dict[str, tuple[int | None, datetime | None]] = {}

    async def counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    async def add(self, group: str, records: int) -> None:
        self._counts[group] += records

    async def add_if_pending(self, group: str, records: int) -> bool:
        if group not in self._counts:
            return False
        self._counts[group] += records
        return True

    async def subtract(self, group: str, records: int) -> None:
        if group in self._counts:
            self._counts[group] -= records
            if self._counts[group] <= 0:
                del self._counts[group]
                self._lowest.pop(group, None)

    async def reconcile_empty(self, group: str) -> None:
        if group not in self._counts:
            return
        lowest, since = self._lowest.pop(group, (None, None))
        match reconcile_with_empty_queue(PendingCount(self._counts[group], lowest, since), self._clock.now()):
            case StoreLowest(new_lowest, new_since):
                self._lowest[group] = (new_lowest, new_since)
            case SubtractLeftover(records):
                await self.subtract(group, records)
            case None:
                self._lowest[group] = (lowest, since)
