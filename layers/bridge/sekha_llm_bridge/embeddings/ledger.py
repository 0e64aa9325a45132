"""How many records wait for each collection: as long as any do, newer ones wait behind them, so that of two writings of
one id the later one holds.

One item of the bridge's table, with an attribute for each collection for which something waits. On the usual path it
is read, with everything else about Chroma, while the provider is at work, and at most once a second; it is written only
in an outage of Chroma's and until what has waited is stored.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from sekha_llm_bridge.aws import AwsError, AwsRequests, Update
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

_KEY = {"provider_id": {"S": "#outbox"}}  # no provider can have this id
_PREFIX = "waiting_"
_CONDITION_FAILED = "ConditionalCheckFailedException"


class LedgerUnavailable(Exception):
    """The ledger did not answer; the message says why."""


def group_of(collection: str) -> str:
    """A collection's key in ledger and queue: its name may be longer than they take."""
    return hashlib.sha256(collection.encode()).hexdigest()[:32]


class Ledger(Protocol):
    """Counts of waiting records, by `group_of` their collection. Methods raise `LedgerUnavailable`."""

    async def waiting(self) -> Mapping[str, int]:
        """Groups for which something waits."""
        ...

    async def begin(self, group: str, records: int) -> None:
        """Notes that records wait, whether others do or not."""
        ...

    async def join(self, group: str, records: int) -> bool:
        """Notes that records wait behind others; False, and nothing is noted, when none do any more."""
        ...

    async def stored(self, group: str, records: int) -> None:
        """Notes that records wait no longer; a group with none left is forgotten."""
        ...

    async def forget(self, group: str) -> None:
        """Notes that nothing waits for a group."""
        ...


class DynamoLedger:
    """A `Ledger` in one item of a table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._table = table
        self._aws = AwsRequests("dynamodb", "DynamoDB_20120810", connections, clock)

    async def waiting(self) -> Mapping[str, int]:
        """See `Ledger.waiting`: one consistent BatchGetItem."""
        asked = {"RequestItems": {self._table: {"Keys": [_KEY], "ConsistentRead": True}}}
        with _translated():
            items = (await self._aws.call("BatchGetItem", asked))["Responses"].get(self._table, [])
            attributes = items[0].items() if items else ()
            return {
                name.removeprefix(_PREFIX): int(value["N"]) for name, value in attributes if name.startswith(_PREFIX)
            }

    async def begin(self, group: str, records: int) -> None:
        """See `Ledger.begin`."""
        await self._write(self._update().adding(_PREFIX + group, records))

    async def join(self, group: str, records: int) -> bool:
        """See `Ledger.join`."""
        name = _PREFIX + group
        return await self._write(self._update().adding(name, records).require_present(name))

    async def stored(self, group: str, records: int) -> None:
        """See `Ledger.stored`: one write for the number, and one more for the last of a group."""
        name = _PREFIX + group
        if await self._write(self._update().adding(name, -records).require_present(name)):
            await self._write(self._update().removing([name]).require(name, "<=", {"N": "0"}))

    async def forget(self, group: str) -> None:
        """See `Ledger.forget`."""
        await self._write(self._update().removing([_PREFIX + group]))

    def _update(self) -> Update:
        return Update(self._table, _KEY)

    async def _write(self, update: Update) -> bool:
        """Whether the condition held."""
        with _translated():
            try:
                await self._aws.call("UpdateItem", update.payload())
            except AwsError as exc:
                if exc.kind != _CONDITION_FAILED:
                    raise
                return False
            return True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # no keys, no connection, a garbled answer, our own mistake
        kind = exc.kind if isinstance(exc, AwsError) else type(exc).__name__
        raise LedgerUnavailable(f"DynamoDB did not do as asked ({kind})") from exc
