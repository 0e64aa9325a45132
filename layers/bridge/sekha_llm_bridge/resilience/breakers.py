"""The circuit breakers of all providers, as one function instance uses them.

A request reads the table at most once a second, in one batch, when it starts and when a long call ends. It writes only
when a provider fails, or has failed. If the table does not answer within the request's time budget, the instance uses
the last known records and changes only its own copy, until the table answers again. So a request never fails because
of the table, and waits at most `DEFAULT_TABLE_TIMEOUT_S` for it.
"""

import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from sekha_llm_bridge.aws.table_time_budget import TableTimeBudget
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome
from sekha_llm_bridge.observability import Metric, count, logger
from sekha_llm_bridge.resilience.breaker import (
    Breaker,
    BreakerState,
    Lease,
    Permit,
    PermitSource,
    Refusal,
    Transition,
    WriteKind,
    make_permit,
    open_if_due,
    record_outcome,
    request_permit,
)
from sekha_llm_bridge.resilience.record_cache import RecordCache
from sekha_llm_bridge.resilience.records import BreakerView, CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import ProviderStore, StoreUnavailable, WriteResult

T = TypeVar("T")
DEFAULT_TABLE_TIMEOUT_S = 0.25
"""The time that one request waits for the table, over all its calls."""

_MAX_WRITE_ATTEMPTS = 4  # another instance changed the breaker before each failed one, which usually decides the matter
_LEASE_MARGIN_S = 2.0
_OPENING_DELAY_S = 0.1


class Breakers:
    """The breakers of one function instance. `new_token` returns a unique text for each lease."""

    def __init__(
        self,
        store: ProviderStore,
        provider_ids: Iterable[str],
        rules: CircuitBreakerConfig,
        clock: Clock,
        *,
        new_token: Callable[[], str] = secrets.token_hex,
    ) -> None:
        self._cache = RecordCache(store, provider_ids, clock)
        self._rules = rules
        self._new_token = new_token

    async def session(self, *, table_timeout_s: float = DEFAULT_TABLE_TIMEOUT_S) -> "BreakerSession":
        """Returns the breakers for one request, which waits at most `table_timeout_s` for the table in all its
        calls."""
        budget = TableTimeBudget(table_timeout_s, self._cache.clock)
        session = BreakerSession(self._cache, self._rules, budget, self._new_token)
        await session.refresh()
        return session

    async def read_now(self, *, table_timeout_s: float = DEFAULT_TABLE_TIMEOUT_S) -> Mapping[str, ProviderRecord]:
        """Reads the records even if the last read is recent. Returns the last known ones if the table fails."""
        self._cache.expire()
        await self.session(table_timeout_s=table_timeout_s)
        return self._cache.records

    @property
    def records(self) -> Mapping[str, ProviderRecord]:
        """The last known record of each provider that has one."""
        return self._cache.records

    @property
    def is_table_unavailable(self) -> bool:
        """Whether the table failed in the last five seconds, so that the records may be outdated."""
        return self._cache.is_table_unavailable

    def views(self) -> Mapping[str, BreakerView]:
        """Returns the breakers that are not closed, by provider id."""
        return self._cache.views()


class BreakerSession:
    """The breakers for one request. All its calls of the table together take at most the time of `budget`."""

    def __init__(
        self, cache: RecordCache, rules: CircuitBreakerConfig, budget: TableTimeBudget, new_token: Callable[[], str]
    ) -> None:
        self._cache = cache
        self._rules = rules
        self._budget = budget
        self._new_token = new_token

    def views(self) -> Mapping[str, BreakerView]:
        """Returns the breakers that are not closed, by provider id."""
        return self._cache.views()

    async def refresh(self) -> None:
        """Reads the records if a read is due. Waits for a read that another request started, if it is running."""
        if not self._cache.is_read_due:
            return
        with suppress(StoreUnavailable):
            last = self._cache.last_read
            is_running = last is not None and last.is_running(self._cache.clock.now())
            if last is not None and is_running and await self._call_table(last.failure()) is None:
                return
            if (failure := await self._call_table(self._cache.start_read().failure())) is not None:
                self._cache.mark_table_unavailable(failure)

    async def request_permit(
        self, provider_id: str, *, lasts_s: float, source: PermitSource = PermitSource.REQUEST
    ) -> Permit | Refusal:
        """Returns a permit for a call that takes at most `lasts_s`, or a refusal.

        If a probe is due, the call becomes the probe: one conditional write acquires the lease. A closed breaker writes
        nothing.
        """

        def decide(breaker: Breaker) -> Transition | Refusal:
            now = self._cache.clock.now()
            until = now + timedelta(seconds=lasts_s + _LEASE_MARGIN_S)
            return request_permit(breaker, source, Lease(self._new_token(), until), now)

        await self.refresh()  # a failover may come long after the plan
        decided = await self._apply(provider_id, decide)
        return decided if isinstance(decided, Refusal) else make_permit(decided.after, provider_id, source)

    async def report_outcome(self, permit: Permit, outcome: CallOutcome, *, cause: str = "") -> None:
        """Records the outcome of a permitted call. `cause` is the failure's error code.

        A success writes nothing if the breaker is closed and has no failures. Before that is decided, old records are
        read again: the success must reset failures that other instances counted meanwhile, otherwise one failure in a
        hundred would open the breaker under heavy traffic. Local changes are replaced by the table's records first.
        """
        provider_id, clock, rules = permit.provider_id, self._cache.clock, self._rules
        if outcome is CallOutcome.SUCCESS or self._cache.has_local_changes:
            await self.refresh()
        decided = await self._apply(
            provider_id, lambda breaker: record_outcome(breaker, permit, outcome, clock.now(), rules, cause=cause)
        )
        if isinstance(decided, Refusal):
            return
        if open_if_due(decided.after, clock.now(), rules).write is not WriteKind.NOTHING:
            if not self._cache.is_table_unavailable:
                await self._budget.sleep(_OPENING_DELAY_S)  # another request's success may reset the count meanwhile
            await self._apply(provider_id, lambda breaker: open_if_due(breaker, clock.now(), rules))

    async def record_check(self, result: CheckResult) -> None:
        """Stores the result of a scheduled check."""
        self._cache.put(result.provider_id, replace(self._cache.record(result.provider_id), check=result))
        with suppress(StoreUnavailable):
            await self._call_table(self._cache.store.record_check(result))

    async def _apply(self, provider_id: str, decide: Callable[[Breaker], Transition | Refusal]) -> Transition | Refusal:
        """Writes the transition that `decide` returns. Decides again if another instance changed the breaker first."""
        before = Breaker()
        for _ in range(_MAX_WRITE_ATTEMPTS):
            before = self._cache.record(provider_id).breaker
            decided = decide(before)
            if isinstance(decided, Refusal) or decided.write is WriteKind.NOTHING:
                return decided
            result = await self._write(provider_id, before, decided)
            self._cache.put(provider_id, replace(self._cache.record(provider_id), breaker=result.breaker))
            if result.is_written:
                _report_transition(provider_id, before, result.breaker)
                return Transition(result.breaker, decided.write)
        return Refusal(before.state, 0.0, before.cause)

    async def _write(self, provider_id: str, before: Breaker, transition: Transition) -> WriteResult:
        """Writes the transition to the table, or only to the cache while the table is unavailable.

        If only this request's time budget is spent, nothing is written: a probe needs a lease in the table.
        """
        store = self._cache.store
        write = store.add_failure if transition.write is WriteKind.ADD_FAILURE else store.replace
        try:
            return await self._call_table(write(provider_id, before, transition.after))
        except StoreUnavailable:
            is_local = self._cache.is_table_unavailable
            self._cache.has_local_changes |= is_local
            return WriteResult(is_written=is_local, breaker=transition.after if is_local else before)

    async def _call_table(self, call: Coroutine[Any, Any, T]) -> T:
        """Returns the answer. If there is none in time, marks the table unavailable and raises `StoreUnavailable`.

        Raises it at once, without a call, while the table is unavailable or if the time budget is spent.
        """
        if self._cache.is_table_unavailable or self._budget.is_spent:
            call.close()
            raise StoreUnavailable("not called")
        try:
            return await self._budget.wait_for(call)
        except TimeoutError:
            failure = StoreUnavailable("no answer in time")
        except StoreUnavailable as exc:
            failure = exc
        self._cache.mark_table_unavailable(failure)
        raise failure


def _report_transition(provider_id: str, before: Breaker, after: Breaker) -> None:
    """Logs and counts openings, closings and probes."""
    if after.epoch == before.epoch:
        return
    if after.state is BreakerState.OPEN:
        fields = {"provider": provider_id, "cause": after.cause, "failures": after.failure_count}
        logger().warning("circuit breaker opened", extra={**fields, "was": before.state.value})
        count(Metric.OPENED, provider=provider_id, cause=after.cause)
    elif after.state is BreakerState.CLOSED:
        logger().info("circuit breaker closed", extra={"provider": provider_id})
        count(Metric.CLOSED, provider=provider_id)
    elif after.lease is not None:
        count(Metric.PROBES, provider=provider_id)
