"""A provider store in front of a shared one. It counts requests, and fails in every way that a network can."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import TypeVar

from sekha_llm_bridge.resilience import Breaker, CheckResult, ProviderRecord, ProviderStore, StoreUnavailable
from sekha_llm_bridge.resilience.store import WriteResult
from tests.fakes.clock import FakeClock

T = TypeVar("T")
_TIMEOUT_S = 2.0


class Fault(Enum):
    """How a request to the table fails."""

    NONE = "it succeeds"
    REFUSED = "it is not executed, and an error is returned at once"
    ANSWER_LOST = "it is executed, and an error is returned"
    HANGS = "it is not executed, and the store times out after two seconds"
    ANSWER_HANGS = "it is executed, and the store times out after two seconds"
    DELAYED = "an error is returned at once, and it is executed when `deliver` is called"


class FaultyStore:
    """A `ProviderStore` in front of another one. A request takes `takes_s`, half of it before it is executed.

    With `spares_reads` only writes fail. `reads` has the start times of all reads, `answered` those of the answered ones;
    `writes` has the names of the writes, failed ones included. `last_answers` has the breaker of each provider in the
    table's last answer, `answers` counts the answers, and `outdated_writes` counts writes that were decided by another
    breaker than that.
    """

    def __init__(self, table: ProviderStore, clock: FakeClock) -> None:
        self.fault = Fault.NONE
        self.spares_reads = False
        self.takes_s = 0.0
        self.reads: list[datetime] = []
        self.answered: list[datetime] = []
        self.writes: list[str] = []
        self.last_answers: dict[str, Breaker] = {}
        self.answers = self.outdated_writes = 0
        self._table = table
        self._clock = clock
        self._delayed: list[Callable[[], Awaitable[object]]] = []

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `ProviderStore.read`."""
        started_at = self._clock.now()
        self.reads.append(started_at)
        ids = tuple(provider_ids)
        found = await self._answer(lambda: self._table.read(ids), Fault.NONE if self.spares_reads else self.fault)
        self.answered.append(started_at)
        self.last_answers = {provider_id: found.get(provider_id, ProviderRecord()).breaker for provider_id in ids}
        return found

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.add_failure`."""
        self.writes.append("add_failure")
        return await self._write(provider_id, before, lambda: self._table.add_failure(provider_id, before, after))

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.replace`."""
        self.writes.append("replace")
        return await self._write(provider_id, before, lambda: self._table.replace(provider_id, before, after))

    async def record_check(self, result: CheckResult) -> None:
        """See `ProviderStore.record_check`."""
        self.writes.append("record_check")
        await self._answer(lambda: self._table.record_check(result), self.fault)

    async def deliver(self) -> None:
        """Executes the delayed requests, in order."""
        delayed, self._delayed = self._delayed, []
        for work in delayed:
            await work()

    async def _write(
        self, provider_id: str, before: Breaker, work: Callable[[], Awaitable[WriteResult]]
    ) -> WriteResult:
        self.outdated_writes += before != self.last_answers.get(provider_id, Breaker())
        written = await self._answer(work, self.fault)
        self.last_answers[provider_id] = written.breaker
        return written

    async def _answer(self, work: Callable[[], Awaitable[T]], fault: Fault) -> T:
        if fault is Fault.HANGS:
            await self._hang()
        if fault is Fault.REFUSED:
            raise StoreUnavailable("refused")
        if fault is Fault.DELAYED:
            self._delayed.append(work)
            raise StoreUnavailable("delayed")
        await asyncio.sleep(self.takes_s / 2)
        answer = await work()
        await asyncio.sleep(self.takes_s / 2)
        if fault is Fault.ANSWER_HANGS:
            await self._hang()
        if fault is Fault.ANSWER_LOST:
            raise StoreUnavailable("the answer was lost")
        self.answers += 1
        return answer

    async def _hang(self) -> None:
        await asyncio.sleep(_TIMEOUT_S)
        raise StoreUnavailable("no answer")
