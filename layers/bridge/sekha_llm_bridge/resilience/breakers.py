"""The breakers as one function instance sees them: a snapshot of the table, permits granted and verdicts reported.

The table is read at most once a second, in one batch, when a request begins and when one that took longer ends; it is
written only when something is wrong or has been. Where it does not answer in the time that a request grants it, the
instance goes on by what it last knew, with a breaker of its own for each provider, until the table answers again:
nobody waits for it, and nothing fails because of it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

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
from sekha_llm_bridge.resilience.records import BreakerView, CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import ProviderStore, StoreUnavailable, WriteResult

T = TypeVar("T")
DEFAULT_PATIENCE_S = 0.25
"""The most that one request waits for the table, all in all."""

_FRESH = timedelta(seconds=1)
_REST = timedelta(seconds=5)  # how long a table that did not answer is not asked again
_MOST_RACES = 4  # each lost one is to somebody who changed the breaker, which decides most of them
_LEASE_MARGIN_S = 2.0
_SECOND_LOOK_S = 0.1
_SHORTEST_S = 0.1  # with less left nothing is asked: that no answer came would say nothing of the table
_READ_HOLDS = timedelta(seconds=3)


class Breakers:
    """All breakers, for as long as this instance lives. `new_token` gives a text that nobody else has."""

    def __init__(
        self,
        store: ProviderStore,
        provider_ids: Iterable[str],
        rules: CircuitBreakerConfig,
        clock: Clock,
        *,
        new_token: Callable[[], str] = secrets.token_hex,
    ) -> None:
        self._store = store
        self._provider_ids = tuple(provider_ids)
        self._rules = rules
        self._clock = clock
        self._new_token = new_token
        self._known: dict[str, ProviderRecord] = {}
        self._written: set[str] = set()  # since the read that is under way began
        self._read_at: datetime | None = None
        self._rests_until: datetime | None = None
        self._was_alone = False  # since the last read it has gone by breakers of its own
        self._reading: _Reading | None = None

    async def session(self, *, patience_s: float = DEFAULT_PATIENCE_S) -> "BreakerSession":
        """The breakers for one request, which waits no longer than that for the table; read anew after a second."""
        patience = _Patience(patience_s, self._clock)
        await self._refresh(patience)
        return BreakerSession(self, patience)

    async def read_now(self, *, patience_s: float = DEFAULT_PATIENCE_S) -> Mapping[str, ProviderRecord]:
        """The records as they are now, however lately they were read; what was last known, where the table does not
        answer.
        """
        self._read_at = None
        await self._refresh(_Patience(patience_s, self._clock))
        return self._known

    @property
    def records(self) -> Mapping[str, ProviderRecord]:
        """What is known of each provider that has a record."""
        return self._known

    @property
    def is_table_unavailable(self) -> bool:
        """Whether the table did not answer just now, so that all of this is what was last known."""
        return self._rests_until is not None and self._clock.now() < self._rests_until

    def views(self) -> Mapping[str, BreakerView]:
        """The breakers that are not closed, by provider id."""
        now = self._clock.now()
        views = ((provider_id, record.view(now)) for provider_id, record in self._known.items())
        return {provider_id: view for provider_id, view in views if view is not None}

    async def request_permit(
        self, provider_id: str, source: PermitSource, lasts_s: float, patience: "_Patience"
    ) -> Permit | Refusal:
        """See `BreakerSession.request_permit`."""

        def decide(breaker: Breaker) -> Transition | Refusal:
            now = self._clock.now()
            until = now + timedelta(seconds=lasts_s + _LEASE_MARGIN_S)
            return request_permit(breaker, source, Lease(self._new_token(), until), now)

        await self._refresh(patience)  # a failover may come long after the plan
        step = await self._carry_out(provider_id, decide, patience)
        return step if isinstance(step, Refusal) else make_permit(step.after, provider_id, source)

    async def report_outcome(self, held: Permit, outcome: CallOutcome, cause: str, patience: "_Patience") -> None:
        """See `BreakerSession.report_outcome`. A success that took long looks again before it says that nothing is
        wrong: it
        may have to
        reset what others have counted meanwhile. Else one failure in a hundred would add up to a row of five wherever
        there is much traffic. And what was done alone while the table was out is forgotten first.
        """
        if outcome is CallOutcome.SUCCESS or self._was_alone:
            await self._refresh(patience)
        rules = self._rules
        step = await self._carry_out(
            held.provider_id,
            lambda breaker: record_outcome(breaker, held, outcome, self._clock.now(), rules, cause=cause),
            patience,
        )
        if (
            isinstance(step, Transition)
            and open_if_due(step.after, self._clock.now(), rules).write is not WriteKind.NOTHING
        ):
            if not self.is_table_unavailable:
                await patience.rest(_SECOND_LOOK_S)  # a success of somebody else's may be on its way to the table
            await self._carry_out(
                held.provider_id, lambda breaker: open_if_due(breaker, self._clock.now(), rules), patience
            )

    async def record_check(self, result: CheckResult, patience: "_Patience") -> None:
        """See `BreakerSession.record_check`."""
        self._remember(result.provider_id, replace(self._record(result.provider_id), check=result))
        with suppress(StoreUnavailable):
            await self._asked(self._store.record_check(result), patience)

    async def _refresh(self, patience: "_Patience") -> None:
        """Reads again when it is time. A read that takes too long for one request goes on, and is the next one's: the
        first of a new connection may, and would never be done if each began from nothing.
        """
        if not self._is_due():
            return
        with suppress(StoreUnavailable):
            if (earlier := self._reading) is not None:
                is_promising = earlier.is_under_way(self._clock.now())
                if is_promising and await self._asked(earlier.result(), patience) is None:
                    return
                earlier.abandon()
            self._reading = _Reading(self._read(), self._clock.now())
            if (failed := await self._asked(self._reading.result(), patience)) is not None:
                self._rest(failed)

    def _is_due(self) -> bool:
        if self.is_table_unavailable:
            return False
        return self._read_at is None or not timedelta() <= self._clock.now() - self._read_at < _FRESH

    async def _read(self) -> StoreUnavailable | None:
        """What this instance writes meanwhile is newer than what it finds."""
        began, self._written = self._clock.now(), set()
        try:
            found = await self._store.read(self._provider_ids)
        except StoreUnavailable as exc:
            return exc
        self._known = {**found, **{provider_id: self._known[provider_id] for provider_id in self._written}}
        self._read_at, self._rests_until, self._was_alone = began, None, False
        return None

    async def _carry_out(
        self, provider_id: str, decide: Callable[[Breaker], Transition | Refusal], patience: "_Patience"
    ) -> Transition | Refusal:
        """The step that was written, or needed no writing; decided anew wherever somebody else was faster."""
        before = Breaker()
        for _ in range(_MOST_RACES):
            before = self._record(provider_id).breaker
            step = decide(before)
            if isinstance(step, Refusal) or step.write is WriteKind.NOTHING:
                return step
            written = await self._write(provider_id, before, step, patience)
            self._remember(provider_id, replace(self._record(provider_id), breaker=written.breaker))
            if written.is_written:
                _tell(provider_id, before, written.breaker)
                return Transition(written.breaker, step.write)
        return Refusal(before.state, 0.0, before.cause)

    async def _write(self, provider_id: str, before: Breaker, step: Transition, patience: "_Patience") -> WriteResult:
        """Where the table does not answer, this instance has a breaker of its own until it does. Where only this
        request has no time left for it, nothing is written: nobody probes without a lease.
        """
        write = self._store.add_failure if step.write is WriteKind.ADD_FAILURE else self._store.replace
        try:
            return await self._asked(write(provider_id, before, step.after), patience)
        except StoreUnavailable:
            self._was_alone |= self.is_table_unavailable
            return WriteResult(
                is_written=self.is_table_unavailable, breaker=step.after if self.is_table_unavailable else before
            )

    async def _asked(self, answer: Coroutine[Any, Any, T], patience: "_Patience") -> T:
        """Raises `StoreUnavailable` when there is no answer in time, which lets the table rest, and at once while it
        rests or when the request has waited long enough.
        """
        if self.is_table_unavailable or patience.is_spent:
            answer.close()
            raise StoreUnavailable("not asked")
        try:
            return await patience.grant(answer)
        except StoreUnavailable as exc:
            self._rest(exc)
            raise

    def _record(self, provider_id: str) -> ProviderRecord:
        return self._known.get(provider_id, ProviderRecord())

    def _remember(self, provider_id: str, record: ProviderRecord) -> None:
        self._known = {**self._known, provider_id: record}
        self._written.add(provider_id)

    def _rest(self, reason: StoreUnavailable) -> None:
        if self.is_table_unavailable:
            return
        self._rests_until = self._clock.now() + _REST
        logger().warning("state table unavailable", extra={"reason": str(reason)})
        count(Metric.TABLE_UNAVAILABLE)


class BreakerSession:
    """The breakers as one request sees them, and acts on them."""

    def __init__(self, breakers: Breakers, patience: "_Patience") -> None:
        self._breakers = breakers
        self._patience = patience

    def views(self) -> Mapping[str, BreakerView]:
        """The breakers that are not closed, by provider id."""
        return self._breakers.views()

    async def request_permit(
        self, provider_id: str, *, lasts_s: float, source: PermitSource = PermitSource.REQUEST
    ) -> Permit | Refusal:
        """Leave to call the provider, for a call that takes no longer than `lasts_s`. Where a probe is due it takes the
        lease, which one conditional write decides; a closed breaker writes nothing.
        """
        return await self._breakers.request_permit(provider_id, source, lasts_s, self._patience)

    async def report_outcome(self, held: Permit, outcome: CallOutcome, *, cause: str = "") -> None:
        """What came of the call. A success on a breaker that nothing is wrong with writes nothing."""
        await self._breakers.report_outcome(held, outcome, cause, self._patience)

    async def record_check(self, result: CheckResult) -> None:
        """Keeps the result of a scheduled check."""
        await self._breakers.record_check(result, self._patience)


class _Patience:
    """How long one request may still wait for the table, all its questions together."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._left_s = seconds
        self._clock = clock

    @property
    def is_spent(self) -> bool:
        """Whether too little is left to ask anything."""
        return self._left_s < _SHORTEST_S

    async def rest(self, seconds: float) -> None:
        """Waits that long, unless too little would be left for questions."""
        if self._left_s >= seconds + _SHORTEST_S:
            self._left_s -= seconds
            await self._clock.sleep(seconds)

    async def grant(self, answer: Awaitable[T]) -> T:
        """Raises `StoreUnavailable` when the time is up."""
        started_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(self._left_s):
                return await answer
        except TimeoutError:
            raise StoreUnavailable("no answer in time") from None
        finally:
            self._left_s -= self._clock.monotonic_s() - started_s


class _Reading:
    """A read of the table that outlives the request that began it. It returns what failed, because nobody may be there
    to catch it.
    """

    def __init__(self, read: Coroutine[Any, Any, StoreUnavailable | None], began: datetime) -> None:
        self._task = asyncio.ensure_future(read)
        self._began = began

    def is_under_way(self, now: datetime) -> bool:
        """Whether it may still be answered: not by the connections of an environment that was frozen meanwhile."""
        is_here = self._task.get_loop() is asyncio.get_running_loop()
        return is_here and not self._task.done() and timedelta() <= now - self._began < _READ_HOLDS

    def abandon(self) -> None:
        """Ends it: there is never more than one."""
        if not self._task.get_loop().is_closed():
            self._task.cancel()

    async def result(self) -> StoreUnavailable | None:
        """Whoever stops waiting for it does not end it."""
        return await asyncio.shield(self._task)


def _tell(provider_id: str, before: Breaker, after: Breaker) -> None:
    """Logs and counts a change that matters to whoever operates the bridge."""
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
