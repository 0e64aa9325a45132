"""How many records wait for each collection: as long as any do, newer ones wait behind them, so that of two writings of
one id the later one holds.

One item of the bridge's table, with an attribute for each collection for which something waits. On the usual path it
is read, with everything else about Chroma, while the provider is at work, and at most once a second; it is written only
in an outage of Chroma's and until what has waited is stored.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from sekha_llm_bridge.aws import CONDITION_FAILED, Attributes, AwsError, AwsRequests, Update, kind_of
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.deferred_writes.pending_count import (
    PendingCount,
    StoreLowest,
    SubtractLeftover,
    reconcile_with_empty_queue,
)

_KEY = {"provider_id": {"S": "#outbox"}}  # no provider can have this id
_WAITING, _LOW, _LOW_AT = "waiting_", "low_", "low_at_"


class PendingWritesUnavailable(Exception):
    """The pending writes did not answer; the message says why."""


def group_id_of(collection: str) -> str:
    """A collection's key in pending_writes and queue: its name may be longer than they take."""
    return hashlib.sha256(collection.encode()).hexdigest()[:32]


class PendingWrites(Protocol):
    """Counts of waiting records, by `group_id_of` their collection. Methods raise `PendingWritesUnavailable`."""

    async def counts(self) -> Mapping[str, int]:
        """Groups for which something waits."""
        ...

    async def add(self, group: str, records: int) -> None:
        """Notes that records wait, whether others do or not."""
        ...

    async def add_if_pending(self, group: str, records: int) -> bool:
        """Notes that records wait behind others; False, and nothing is noted, when none do any more."""
        ...

    async def subtract(self, group: str, records: int) -> None:
        """Notes that records wait no longer; a group with none left is forgotten."""
        ...

    async def reconcile_empty(self, group: str) -> None:
        """Notes that the queue is empty although records wait for a group: see `tally`."""
        ...


class DynamoPendingWrites:
    """A `PendingWrites` in one item of a table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._aws = AwsRequests("dynamodb", "DynamoDB_20120810", connections, clock)

    async def counts(self) -> Mapping[str, int]:
        """See `PendingWrites.counts`: one consistent BatchGetItem."""
        item = await self._item()
        counts = ((name, int(value["N"])) for name, value in item.items() if name.startswith(_WAITING))
        return {name.removeprefix(_WAITING): count for name, count in counts if count > 0}

    async def add(self, group: str, records: int) -> None:
        """See `PendingWrites.add`."""
        await self._write(self._update().adding(_WAITING + group, records))

    async def add_if_pending(self, group: str, records: int) -> bool:
        """See `PendingWrites.add_if_pending`."""
        name = _WAITING + group
        return await self._write(self._update().adding(name, records).require(name, ">", {"N": "0"}))

    async def subtract(self, group: str, records: int) -> None:
        """See `PendingWrites.subtract`: one write for the number, and one more for the last of a group."""
        name = _WAITING + group
        if await self._write(self._update().adding(name, -records).require_present(name)):
            await self._forget_if_none(group)

    async def reconcile_empty(self, group: str) -> None:
        """See `PendingWrites.reconcile_empty`."""
        tally = _tally(await self._item(), group)
        step = reconcile_with_empty_queue(tally, self._clock.now()) if tally else None
        match step:
            case StoreLowest(low, since):
                noted = {_LOW + group: {"N": str(low)}, _LOW_AT + group: {"S": since.isoformat()}}
                await self._write(self._update().setting(noted).require_present(_WAITING + group))
            case SubtractLeftover(records):
                seen = {"S": tally.low_at.isoformat()} if tally and tally.low_at else {}
                update = self._update().adding(_WAITING + group, -records).removing([_LOW + group, _LOW_AT + group])
                if await self._write(update.require(_LOW_AT + group, "=", seen)):
                    await self._forget_if_none(group)

    async def _forget_if_none(self, group: str) -> None:
        names = [_WAITING + group, _LOW + group, _LOW_AT + group]
        await self._write(self._update().removing(names).require(names[0], "<=", {"N": "0"}))

    async def _item(self) -> Attributes:
        asked = {"RequestItems": {self._table: {"Keys": [_KEY], "ConsistentRead": True}}}
        with _translated():
            answer = await self._aws.call("BatchGetItem", asked)
            if answer.get("UnprocessedKeys"):
                raise PendingWritesUnavailable("DynamoDB left the pending writes unread")
            items: list[Attributes] = answer["Responses"].get(self._table, [])
            return items[0] if items else {}

    def _update(self) -> Update:
        return Update(self._table, _KEY)

    async def _write(self, update: Update) -> bool:
        """Whether the condition held."""
        with _translated():
            try:
                await self._aws.call("UpdateItem", update.payload())
            except AwsError as exc:
                if exc.kind != CONDITION_FAILED:
                    raise
                return False
            return True


def _tally(item: Attributes, group: str) -> PendingCount | None:
    """The group's counts; None where nothing waits."""
    waiting, low, low_at = (item.get(name + group) for name in (_WAITING, _LOW, _LOW_AT))
    if waiting is None:
        return None
    since = datetime.fromisoformat(low_at["S"]) if low_at else None
    return PendingCount(int(waiting["N"]), int(low["N"]) if low else None, since)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PendingWritesUnavailable:
        raise
    except Exception as exc:  # no keys, no connection, a garbled answer, our own mistake
        raise PendingWritesUnavailable(f"DynamoDB did not do as asked ({kind_of(exc)})") from exc
