"""The provider records that one function instance knows, and when it reads them from the table again."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.observability import Metric, count, logger
from sekha_llm_bridge.resilience.records import BreakerView, ProviderRecord
from sekha_llm_bridge.resilience.store import ProviderStore, StoreUnavailable

_MAX_AGE = timedelta(seconds=1)
_UNAVAILABLE_FOR = timedelta(seconds=5)
_MAX_READ_TIME = timedelta(seconds=3)  # of one read that several requests wait for


class RecordCache:
    """The records of the last read, with the changes that this instance made since.

    `has_local_changes` says that the table does not have all of these changes, because it was unavailable.
    """

    def __init__(self, store: ProviderStore, provider_ids: Iterable[str], clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.records: Mapping[str, ProviderRecord] = {}
        self.has_local_changes = False
        self.last_read: PendingRead | None = None
        self._provider_ids = tuple(provider_ids)
        self._changed_ids: set[str] = set()  # since the start of the last read
        self._read_at: datetime | None = None
        self._unavailable_until: datetime | None = None

    def record(self, provider_id: str) -> ProviderRecord:
        """Returns the record of a provider; the default record if it has none."""
        return self.records.get(provider_id, ProviderRecord())

    def views(self) -> Mapping[str, BreakerView]:
        """Returns the breakers that are not closed, by provider id."""
        now = self.clock.now()
        views = ((provider_id, record.view(now)) for provider_id, record in self.records.items())
        return {provider_id: view for provider_id, view in views if view is not None}

    def put(self, provider_id: str, record: ProviderRecord) -> None:
        """Replaces a record. A read that is in progress does not overwrite it."""
        self.records = {**self.records, provider_id: record}
        self._changed_ids.add(provider_id)

    def expire(self) -> None:
        """Makes a read due now."""
        self._read_at = None

    @property
    def is_read_due(self) -> bool:
        """Returns whether the last read is older than a second (or in the future), and the table is available."""
        if self.is_table_unavailable:
            return False
        return self._read_at is None or not timedelta() <= self.clock.now() - self._read_at < _MAX_AGE

    @property
    def is_table_unavailable(self) -> bool:
        """Returns whether the table failed in the last five seconds. Until then it is not called."""
        return self._unavailable_until is not None and self.clock.now() < self._unavailable_until

    def mark_table_unavailable(self, reason: StoreUnavailable) -> None:
        """Stops calls of the table for five seconds. Writes one warning and one metric."""
        if self.is_table_unavailable:
            return
        self._unavailable_until = self.clock.now() + _UNAVAILABLE_FOR
        logger().warning("state table unavailable", extra={"reason": str(reason)})
        count(Metric.TABLE_UNAVAILABLE)

    def start_read(self) -> "PendingRead":
        """Starts to read all records. Cancels the previous read."""
        if self.last_read is not None:
            self.last_read.cancel()
        self.last_read = PendingRead(self._read(), self.clock.now())
        return self.last_read

    async def _read(self) -> StoreUnavailable | None:
        started_at, self._changed_ids = self.clock.now(), set()
        try:
            found = await self.store.read(self._provider_ids)
        except StoreUnavailable as exc:
            return exc
        self.records = {**found, **{provider_id: self.records[provider_id] for provider_id in self._changed_ids}}
        self._read_at, self._unavailable_until, self.has_local_changes = started_at, None, False
        return None


class PendingRead:
    """A read of the table that continues when the request that started it stops waiting.

    The first read of a new connection may take longer than one request waits. If each request started a new read, none
    would complete.
    """

    def __init__(self, read: Coroutine[Any, Any, StoreUnavailable | None], started_at: datetime) -> None:
        self._task = asyncio.ensure_future(read)
        self._started_at = started_at

    def is_running(self, now: datetime) -> bool:
        """Returns whether it may still return a result. After Lambda froze the environment, its connection is
        closed."""
        is_of_this_loop = self._task.get_loop() is asyncio.get_running_loop()
        return is_of_this_loop and not self._task.done() and timedelta() <= now - self._started_at < _MAX_READ_TIME

    def cancel(self) -> None:
        """Cancels the read if it is running."""
        if not self._task.get_loop().is_closed():
            self._task.cancel()

    async def failure(self) -> StoreUnavailable | None:
        """Waits for the read and returns its failure, or None. Cancelling this call does not end the read."""
        return await asyncio.shield(self._task)
