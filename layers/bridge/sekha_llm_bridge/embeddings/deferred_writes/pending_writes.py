"""The number of records in the queue, for each collection of each database.

While a collection has pending records, newer ones for it also go to the queue. So of two writes of one id, the later
one is stored last.

The counts are attributes of one item in the state table. An embedding request reads the item at most once a second,
while the provider works. The item is written only while Chroma fails, and until the queue is empty again.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from sekha_llm_bridge.aws.state_table import PENDING_WRITES, Attributes, StateTable, Update
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.deferred_writes.pending_count import (
    PendingCount,
    StoreLowest,
    SubtractLeftover,
    reconcile_with_empty_queue,
)
from sekha_llm_bridge.embeddings.records import Database

_COUNT, _LOWEST, _LOWEST_SINCE = "pending_", "lowest_", "lowest_since_"


class PendingWritesUnavailable(Exception):
    """The table did not answer; the message says why."""


def group_id_of(collection: str, database: Database | None = None) -> str:
    """Returns the id of a collection's message group, in the counts and in the queue.

    It is a hash, because a collection's name may be longer than SQS and DynamoDB allow. Collections of the configured
    database (None) keep the id that older versions gave them.
    """
    names = [collection] if database is None else [*database, collection]
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:32]


class PendingWrites(Protocol):
    """Counts of pending records by message group (`group_id_of` the collection).

    Methods raise `PendingWritesUnavailable`.
    """

    async def counts(self) -> Mapping[str, int]:
        """Returns the counts of all groups that have pending records."""
        ...

    async def add(self, group: str, records: int) -> None:
        """Adds to a group's count."""
        ...

    async def add_if_pending(self, group: str, records: int) -> bool:
        """Adds to a group's count if it is above 0. Returns False, and adds nothing, if it is 0."""
        ...

    async def subtract(self, group: str, records: int) -> None:
        """Subtracts from a group's count. Deletes the group's attributes when the count reaches 0."""
        ...

    async def reconcile_empty(self, group: str) -> None:
        """Corrects a group's count, given that the queue is empty now: see `pending_count`."""
        ...


class DynamoPendingWrites:
    """A `PendingWrites` in one item of a DynamoDB table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._clock = clock
        self._table = StateTable(table, connections, clock, error_type=PendingWritesUnavailable)

    async def counts(self) -> Mapping[str, int]:
        """See `PendingWrites.counts`. Sends one consistent BatchGetItem."""
        item = await self._read_item()
        counts = ((name, int(value["N"])) for name, value in item.items() if name.startswith(_COUNT))
        return {name.removeprefix(_COUNT): count for name, count in counts if count > 0}

    async def add(self, group: str, records: int) -> None:
        """See `PendingWrites.add`."""
        await self._write(Update(PENDING_WRITES).add(_COUNT + group, records))

    async def add_if_pending(self, group: str, records: int) -> bool:
        """See `PendingWrites.add_if_pending`."""
        name = _COUNT + group
        return await self._write(Update(PENDING_WRITES).add(name, records).require(name, ">", {"N": "0"}))

    async def subtract(self, group: str, records: int) -> None:
        """See `PendingWrites.subtract`. Sends one UpdateItem, and a second one to delete the attributes."""
        name = _COUNT + group
        if await self._write(Update(PENDING_WRITES).add(name, -records).require_present(name)):
            await self._delete_if_zero(group)

    async def reconcile_empty(self, group: str) -> None:
        """See `PendingWrites.reconcile_empty`."""
        count = _pending_count(await self._read_item(), group)
        correction = reconcile_with_empty_queue(count, self._clock.now()) if count else None
        match correction:
            case StoreLowest(lowest, since):
                values = {_LOWEST + group: {"N": str(lowest)}, _LOWEST_SINCE + group: {"S": since.isoformat()}}
                await self._write(Update(PENDING_WRITES).set(values).require_present(_COUNT + group))
            case SubtractLeftover(records):
                seen = {"S": count.lowest_since.isoformat()} if count and count.lowest_since else {}
                update = Update(PENDING_WRITES).add(_COUNT + group, -records)
                update = update.remove([_LOWEST + group, _LOWEST_SINCE + group])
                if await self._write(update.require(_LOWEST_SINCE + group, "=", seen)):
                    await self._delete_if_zero(group)

    async def _delete_if_zero(self, group: str) -> None:
        names = [_COUNT + group, _LOWEST + group, _LOWEST_SINCE + group]
        await self._write(Update(PENDING_WRITES).remove(names).require(names[0], "<=", {"N": "0"}))

    async def _read_item(self) -> Attributes:
        return (await self._table.read([PENDING_WRITES])).get(PENDING_WRITES, {})

    async def _write(self, update: Update) -> bool:
        """Sends the update. Returns whether its condition was met."""
        return (await self._table.update(update)).is_written


def _pending_count(item: Attributes, group: str) -> PendingCount | None:
    """Returns the group's count, or None if the group has no pending records."""
    records, lowest, lowest_since = (item.get(name + group) for name in (_COUNT, _LOWEST, _LOWEST_SINCE))
    if records is None:
        return None
    since = datetime.fromisoformat(lowest_since["S"]) if lowest_since else None
    return PendingCount(int(records["N"]), int(lowest["N"]) if lowest else None, since)
