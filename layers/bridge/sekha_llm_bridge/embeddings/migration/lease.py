"""Who may migrate: one at a time over the whole fleet, for as long as he says that he is still at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

from sekha_llm_bridge.aws import CONDITION_FAILED, Attributes, AwsError, AwsRequests, Update, kind_of
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

MIGRATION_LEASE = "#migration"
"""The lease's key in the table of the providers, whose ids have no `#`."""

_TTL_S = 30.0
_RENEWED_AFTER = 1 / 3  # of that time


class LeaseUnavailable(Exception):
    """Nobody knows who has the lease; the message says why."""


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Another one has the lease, until then if he does not renew it."""

    holder: str
    until: datetime

    def __str__(self) -> str:
        """For people."""
        return f"{self.holder} has the lease until {self.until:%H:%M:%S} UTC"


class Lease(Protocol):
    """The right to migrate. A holder that dies loses it after a while."""

    async def acquire(self) -> LeaseHolder | None:
        """Takes it where nobody has it; else says who. Raises `LeaseUnavailable`."""
        ...

    async def renew(self) -> bool:
        """Keeps it, if it is time to; False: it is lost. Call it often."""
        ...

    async def release(self) -> None:
        """Gives it back. It ends by itself where that cannot be done."""
        ...


class NoLease:
    """Where nobody shares anything: always to be had, never lost."""

    async def acquire(self) -> LeaseHolder | None:
        """See `Lease`."""
        return None

    async def renew(self) -> bool:
        """See `Lease`."""
        return True

    async def release(self) -> None:
        """See `Lease`."""


class DynamoLease:
    """A `Lease` on an item of a table whose key is `provider_id`; `ttl_s` is how long it lasts without renewal."""

    def __init__(
        self, table: str, connections: Connections, clock: Clock, *, name: str = MIGRATION_LEASE, ttl_s: float = _TTL_S
    ) -> None:
        self._table = table
        self._key: Attributes = {"provider_id": {"S": name}}
        self._clock = clock
        self._ttl_s = ttl_s
        self._holder = str(uuid4())
        self._renewed_at_s = 0.0
        self._aws = AwsRequests("dynamodb", "DynamoDB_20120810", connections, clock)

    async def acquire(self) -> LeaseHolder | None:
        """See `Lease`: one UpdateItem, which takes what is absent or over."""
        with _translated():
            update = self._lasting().require_absent_or("lease_until", "<=", self._now())
            return await self._write(update)

    async def renew(self) -> bool:
        """See `Lease`: one UpdateItem when a third of the time has passed, and nothing before. A table that does not
        answer takes nothing away before the time is over.
        """
        lasts_s = self._clock.monotonic_s() - self._renewed_at_s
        if lasts_s < self._ttl_s * _RENEWED_AFTER:
            return True
        try:
            with _translated():
                return await self._write(self._mine(self._lasting())) is None  # who has it still, though late, has it
        except LeaseUnavailable:
            return self._clock.monotonic_s() - self._renewed_at_s < self._ttl_s

    async def release(self) -> None:
        """See `Lease`: one UpdateItem, which leaves that of another holder as it is."""
        try:
            with _translated():
                await self._aws.call("UpdateItem", self._mine(self._update().removing(_ATTRIBUTES)).payload())
        except LeaseUnavailable:
            pass  # it ends by itself

    def _update(self) -> Update:
        return Update(self._table, self._key)

    def _lasting(self) -> Update:
        until_ms = _milliseconds(self._clock.now()) + round(self._ttl_s * 1000)
        return self._update().setting({"holder": {"S": self._holder}, "lease_until": {"N": str(until_ms)}})

    def _mine(self, update: Update) -> Update:
        return update.require("holder", "=", {"S": self._holder})

    def _now(self) -> dict[str, str]:
        return {"N": str(_milliseconds(self._clock.now()))}

    async def _write(self, update: Update) -> LeaseHolder | None:
        """Who else has it; None once it is written. Its time runs from before the request."""
        asked_at_s = self._clock.monotonic_s()
        try:
            await self._aws.call("UpdateItem", update.payload())
        except AwsError as exc:
            if exc.kind != CONDITION_FAILED:
                raise
            return _held(exc.fields.get("Item", {}))
        self._renewed_at_s = asked_at_s
        return None


_ATTRIBUTES = frozenset({"holder", "lease_until"})


def _held(item: Attributes) -> LeaseHolder:
    until_ms = int(item.get("lease_until", {}).get("N", 0))
    return LeaseHolder(item.get("holder", {}).get("S", "nobody"), datetime.fromtimestamp(until_ms / 1000, UTC))


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@contextmanager
def _translated() -> Iterator[None]:
    """Whatever is not an answer is as good as none. The kind alone is told: messages may quote anything."""
    try:
        yield
    except Exception as exc:  # no keys, a garbled answer, our own mistake: whoever may not migrate must not
        raise LeaseUnavailable(f"DynamoDB did not do as asked ({kind_of(exc)})") from exc
