"""The lease of the migration: only the process that holds it may migrate collections."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

from sekha_llm_bridge.aws.state_table import MIGRATION_LEASE, Attributes, StateTable, Update
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

_TTL_S = 30.0
_RENEW_AFTER = 1 / 3  # of the TTL


class LeaseUnavailable(Exception):
    """The holder of the lease cannot be read or changed; the message says why."""


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Another process holds the lease. It ends at `until` unless that process renews it."""

    holder: str
    until: datetime

    def __str__(self) -> str:
        """Returns a text for notes and logs."""
        return f"{self.holder} holds the lease until {self.until:%H:%M:%S} UTC"


class Lease(Protocol):
    """The right to migrate. It ends some time after its holder stops renewing it."""

    async def acquire(self) -> LeaseHolder | None:
        """Acquires the lease and returns None, or returns its holder if it is held. Raises `LeaseUnavailable`."""
        ...

    async def renew(self) -> bool:
        """Renews the lease if it is due. Returns False if the lease is lost. Call it often."""
        ...

    async def release(self) -> None:
        """Releases the lease. If that fails, the lease ends at its expiry."""
        ...


class NoLease:
    """A lease without a table: it is always acquired and never lost."""

    async def acquire(self) -> LeaseHolder | None:
        """See `Lease.acquire`."""
        return None

    async def renew(self) -> bool:
        """See `Lease.renew`."""
        return True

    async def release(self) -> None:
        """See `Lease.release`."""


class DynamoLease:
    """A `Lease` in one item of the state table. It ends `ttl_s` after its last renewal."""

    def __init__(self, table: str, connections: Connections, clock: Clock, *, ttl_s: float = _TTL_S) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._holder = str(uuid4())
        self._renewed_at_s = 0.0
        self._table = StateTable(table, connections, clock, error_type=LeaseUnavailable)

    async def acquire(self) -> LeaseHolder | None:
        """See `Lease.acquire`. Sends one UpdateItem, on condition that the lease is absent or has expired."""
        now = {"N": str(_milliseconds(self._clock.now()))}
        return await self._write(self._extended().require_absent_or("lease_until", "<=", now))

    async def renew(self) -> bool:
        """See `Lease.renew`. Sends one UpdateItem when a third of the TTL has passed.

        If the table does not answer, the lease is lost only when its TTL is over.
        """
        age_s = self._clock.monotonic_s() - self._renewed_at_s
        if age_s < self._ttl_s * _RENEW_AFTER:
            return True
        try:
            # An expired lease is still renewed if no other process has acquired it.
            return await self._write(self._if_held(self._extended())) is None
        except LeaseUnavailable:
            return self._clock.monotonic_s() - self._renewed_at_s < self._ttl_s

    async def release(self) -> None:
        """See `Lease.release`. Sends one UpdateItem, on condition that this process is the holder."""
        with suppress(LeaseUnavailable):  # then it ends at its expiry
            await self._table.update(self._if_held(Update(MIGRATION_LEASE).remove(_ATTRIBUTES)))

    def _extended(self) -> Update:
        until_ms = _milliseconds(self._clock.now()) + round(self._ttl_s * 1000)
        return Update(MIGRATION_LEASE).set({"holder": {"S": self._holder}, "lease_until": {"N": str(until_ms)}})

    def _if_held(self, update: Update) -> Update:
        return update.require("holder", "=", {"S": self._holder})

    async def _write(self, update: Update) -> LeaseHolder | None:
        """Writes the lease and returns None, or returns its other holder. The TTL counts from before the request."""
        requested_at_s = self._clock.monotonic_s()
        result = await self._table.update(update)
        if not result.is_written:
            return _holder_in(result.item)
        self._renewed_at_s = requested_at_s
        return None


_ATTRIBUTES = frozenset({"holder", "lease_until"})


def _holder_in(item: Attributes) -> LeaseHolder:
    until_ms = int(item.get("lease_until", {}).get("N", 0))
    return LeaseHolder(
        item.get("holder", {}).get("S", "an unknown process"), datetime.fromtimestamp(until_ms / 1000, UTC)
    )


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
