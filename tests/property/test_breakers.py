"""A fleet of instances that share a provider's breaker, and a table that fails in every way: what holds whatever happens.

The fleet is compared with `Model`, one breaker as the contract has it, which knows neither snapshots nor the network.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.resilience import (
    Breaker,
    Breakers,
    BreakerState,
    CheckResult,
    Permit,
    ProviderRecord,
    Refusal,
    Source,
    Standing,
    Verdict,
    Watch,
)
from sekha_llm_bridge.resilience.breaker import Credit
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.virtual_time import run

T = TypeVar("T")
P = "p"
LASTS_S = 8.0
MARGIN_S = 2.0
PATIENCE_S = 0.25
SNAPSHOT = timedelta(seconds=1)


class Model:
    """One breaker, as the contract has it."""

    def __init__(self, rules: CircuitBreakerConfig) -> None:
        self.rules = rules
        self.state, self.epoch, self.failures, self.successes = "closed", 0, 0, 0
        self.counted_by = "request"
        self.due: datetime | None = None
        self.token: str | None = None
        self.until: datetime | None = None
        self.checks = "trusted"

    def facts(self) -> tuple[object, ...]:
        """What can be seen in the table."""
        shape = (self.state, self.epoch, self.failures, self.successes)
        return (*shape, self.due, self.token, self.until, self.checks)

    def refuses(self, now: datetime) -> bool:
        """Whether nobody may call the provider."""
        waits_until = {"closed": None, "open": self.due, "half_open": self.until}[self.state]
        return waits_until is not None and now < waits_until

    def probe(self, token: str, until: datetime) -> None:
        """Somebody takes the lease."""
        self.state, self.due, self.token, self.until = "half_open", None, token, until
        self.epoch += 1

    def hear(self, verdict: Verdict, source: Source, now: datetime) -> "Model":
        """The breaker after a result of now."""
        after = copy(self)
        if source is Source.CHECK and verdict is Verdict.REJECTION:
            verdict = Verdict.NEUTRAL
        after._in_closed(verdict, source, now) if self.state == "closed" else after._in_half_open(verdict, source, now)
        return after

    def _in_closed(self, verdict: Verdict, source: Source, now: datetime) -> None:
        if verdict is Verdict.SUCCESS and source is Source.REQUEST:
            self.failures, self.checks = 0, "trusted"
        elif verdict is Verdict.SUCCESS and self.counted_by == "check":
            self.failures = 0
        elif verdict in {Verdict.FAILURE, Verdict.REJECTION}:
            self.failures, self.counted_by = self.failures + 1, source.value
            if verdict is Verdict.REJECTION or self.failures >= self.rules.failure_threshold:
                self._open(source, now)

    def _in_half_open(self, verdict: Verdict, source: Source, now: datetime) -> None:
        self.token = self.until = None
        if verdict in {Verdict.FAILURE, Verdict.REJECTION}:
            self.failures, self.counted_by = self.failures + 1, source.value
            return self._open(source, now)
        self.epoch += 1
        if verdict is not Verdict.SUCCESS:
            return None
        enough = self.successes + 1 >= self.rules.success_threshold
        if not enough:
            self.successes += 1
        elif source is Source.REQUEST or self.checks == "trusted":
            self.state, self.failures, self.successes = "closed", 0, 0
            self.checks = "trusted" if source is Source.REQUEST else "on_trial"
        return None

    def _open(self, source: Source, now: datetime) -> None:
        self.state, self.successes, self.epoch = "open", 0, self.epoch + 1
        self.due = now + timedelta(seconds=self.rules.timeout_secs)
        if self.checks == "on_trial":
            self.checks = "misled" if source is Source.REQUEST else "trusted"


def facts(breaker: Breaker) -> tuple[object, ...]:
    lease = breaker.lease
    shape = (breaker.state.value, breaker.epoch, breaker.failure_count, breaker.success_count)
    return (*shape, breaker.retry_at, lease and lease.token, lease and lease.until, breaker.checks.value)


@dataclass(eq=False)
class Instance:
    """One function instance, with its own way to the table."""

    breakers: Breakers
    store: FaultyStore
    heard: int = 0
    """How often the table has answered it."""

    @property
    def known(self) -> Breaker:
        return self.breakers.records.get(P, ProviderRecord()).breaker

    @property
    def hears(self) -> bool:
        """Whether the table answers it now, and what it goes by is what the table told it."""
        told = self.store.told.get(P, Breaker())
        return self.store.fault is Fault.NONE and not self.breakers.is_cut_off and told == self.known


@dataclass(eq=False)
class Call:
    """A request or a check under way. `is_known` says that the table has what its permit says."""

    instance: Instance
    watch: Watch
    source: Source
    waited_s: float = 0.0
    permit: Permit | None = None
    is_known: bool = False
    until: datetime | None = None
    reads_before: int = 0
    is_over: bool = field(default=False)


faults = st.sampled_from([fault for fault in Fault if fault is not Fault.NONE])
verdicts = st.sampled_from(
    [Verdict.SUCCESS] * 3 + [Verdict.FAILURE] * 4 + [Verdict.REJECTION, Verdict.NEUTRAL, Verdict.NEUTRAL]
)
sources = st.sampled_from([Source.REQUEST, Source.REQUEST, Source.CHECK])
workers = st.integers(0, 2)
picks = st.integers(0, 5)


class Fleet(RuleBasedStateMachine):
    """Three instances."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.table = MemoryProviderStore()
        self.waiting: list[Call] = []
        self.under_way: list[Call] = []
        self.tokens = 0

    @initialize(failures=st.integers(1, 3), successes=st.integers(1, 3), timeout_s=st.sampled_from([2.0, 20.0]))
    def start(self, failures: int, successes: int, timeout_s: float) -> None:
        self.rules = CircuitBreakerConfig(
            failure_threshold=failures, success_threshold=successes, timeout_secs=timeout_s
        )
        self.model = Model(self.rules)
        self.fleet = [self._instance() for _ in range(3)]

    def _instance(self) -> Instance:
        store = FaultyStore(self.table, self.clock)
        return Instance(Breakers(store, [P], self.rules, self.clock, new_token=self._token), store)

    def _token(self) -> str:
        self.tokens += 1
        return f"token {self.tokens}"

    # What happens.

    @rule(seconds=st.sampled_from([0.2, 0.5, 0.999999, 1, 2, 5, 9.999999, 10, 20]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([1, 20]))
    def all_freeze(self, seconds: float) -> None:
        self.clock.freeze(seconds)

    @rule(later_us=st.sampled_from([-1, 0, 1]))
    def a_wait_is_over(self, later_us: int) -> None:
        """To the moment, or just not."""
        if (end := self.model.due or self.model.until) and end > self.clock.now():
            self.clock.advance((end - self.clock.now() + timedelta(microseconds=later_us)).total_seconds())

    @rule(worker=workers, fault=faults)
    def trouble(self, worker: int, fault: Fault) -> None:
        """For one instance at a time."""
        self.all_is_mended()
        self.fleet[worker].store.fault = fault

    @rule(worker=workers, takes_s=st.sampled_from([0.0, 0.01, 0.1, 0.3]))
    def answers_take_time(self, worker: int, takes_s: float) -> None:
        self.fleet[worker].store.takes_s = takes_s

    @rule()
    def all_is_mended(self) -> None:
        for instance in self.fleet:
            instance.store.fault, instance.store.takes_s = Fault.NONE, 0.0

    @rule(worker=workers)
    def what_was_delayed_arrives(self, worker: int) -> None:
        before = facts(self._breaker())
        run(self.fleet[worker].store.deliver(), self.clock)
        after = self._breaker()
        if facts(after) != before:
            event("a delayed write arrived")
            self._adopt(after)

    @rule(worker=workers, source=sources)
    def begins(self, worker: int, source: Source) -> None:
        self.waiting += self._begin([self.fleet[worker]], source)

    @rule(source=sources)
    def all_begin_at_once(self, source: Source) -> None:
        self.waiting += self._begin(self.fleet, source)

    @rule(pick=picks)
    def asks_again(self, pick: int) -> None:
        """The next candidate is another model of the same provider."""
        if self.waiting:
            first = self.waiting[pick % len(self.waiting)]
            again = Call(first.instance, first.watch, first.source)
            self.under_way.append(again)
            self.waiting += self._ask([again])

    @rule(pick=picks, verdict=verdicts)
    def ends(self, pick: int, verdict: Verdict) -> None:
        if self.waiting:
            self._report(self.waiting.pop(pick % len(self.waiting)), verdict)

    @rule(worker=workers, source=sources, verdict=verdicts)
    def comes_and_goes(self, worker: int, source: Source, verdict: Verdict) -> None:
        for call in self._begin([self.fleet[worker]], source):
            self._report(call, verdict)

    @rule(worker=workers, source=sources)
    def the_provider_fails(self, worker: int, source: Source) -> None:
        for _ in range(self.rules.failure_threshold):
            self.comes_and_goes(worker, source, Verdict.FAILURE)

    @rule(worker=workers, source=sources)
    def the_provider_is_back(self, worker: int, source: Source) -> None:
        for _ in range(self.rules.success_threshold):
            self.a_wait_is_over(0)
            self.comes_and_goes(worker, source, Verdict.SUCCESS)

    @rule(worker=workers, healthy=st.booleans(), conclusive=st.booleans())
    def a_check_is_recorded(self, worker: int, healthy: bool, conclusive: bool) -> None:  # noqa: FBT001 — drawn
        before, call = self._breaker(), self._watch(self.fleet[worker], Source.CHECK)
        result = CheckResult(P, healthy, 5 if healthy else None, self.clock.now(), conclusive=conclusive)
        run(self._timed(call, call.watch.record_check(result)), self.clock)
        assert self._breaker() == before

    # How it happens, and what each step may do.

    def _begin(self, instances: Sequence[Instance], source: Source) -> list[Call]:
        """Those who have leave, of requests that all ask at once."""
        calls = [self._watch(instance, source) for instance in instances]
        return self._ask([call for call in calls if not self._is_excluded(call)])

    def _ask(self, asking: Sequence[Call]) -> list[Call]:
        outcomes = run(self._all(self._timed(call, self._asks(call)) for call in asking), self.clock)
        self._judge(asking, outcomes)
        return [call for call in asking if call.permit]

    def _watch(self, instance: Instance, source: Source) -> Call:
        async def watch() -> Call:
            started_s, reads = self.clock.monotonic_s(), len(instance.store.reads)
            call = Call(instance, await instance.breakers.watch(), source, reads_before=reads)
            call.waited_s = self.clock.monotonic_s() - started_s
            return call

        call = run(watch(), self.clock)
        if len(instance.store.reads) > call.reads_before and instance.hears:
            instance.heard += 1
            assert facts(instance.known) == self.model.facts()
        self.under_way.append(call)
        return call

    def _is_excluded(self, call: Call) -> bool:
        """Whether the planner would leave the provider out."""
        view = call.watch.views().get(P)
        return view is not None and view.standing is Standing.SHUT_OUT

    async def _asks(self, call: Call) -> Permit | Refusal:
        return await call.watch.ask(P, lasts_s=LASTS_S, source=call.source)

    async def _timed(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        started_s = self.clock.monotonic_s()
        try:
            return await work
        finally:
            call.waited_s += self.clock.monotonic_s() - started_s

    async def _all(self, works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        return await asyncio.gather(*works)

    def _judge(self, calls: Sequence[Call], outcomes: Sequence[Permit | Refusal]) -> None:
        """The table has changed only if somebody was due to probe, and has the lease."""
        breaker = self._breaker()
        permits = [outcome for outcome in outcomes if isinstance(outcome, Permit)]
        if facts(breaker) != self.model.facts():
            assert breaker.lease is not None
            assert breaker.lease.token in {permit.token for permit in permits}
            assert not (self.model.state == "closed" or self.model.refuses(self.clock.now()))
            event(f"a probe begins in {self.model.state}" + (", another's lease expired" if self.model.token else ""))
            self.model.probe(breaker.lease.token, breaker.lease.until)
        assert facts(breaker) == self.model.facts()
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Permit):
                self._grant(call, outcome)

    def _grant(self, call: Call, permit: Permit) -> None:
        call.permit = permit
        if permit.token is None:
            call.is_known = (self.model.state, self.model.epoch) == ("closed", permit.epoch)
            self.a_call_through_an_open_breaker_knows_no_better(call)
            return
        lease = call.instance.known.lease
        assert lease is not None
        call.until = lease.until
        call.is_known = permit.token == self.model.token
        if not call.is_known:
            event("a probe of its own, while the table is out")
            assert not call.instance.hears

    def a_call_through_an_open_breaker_knows_no_better(self, call: Call) -> None:
        """With a table that answers, nobody calls through an open breaker, but for one second after it opened."""
        if self.model.refuses(self.clock.now()):
            is_fresh = self.clock.now() - call.instance.store.reads[-1] < SNAPSHOT
            event("a call through a breaker that opened within the second")
            assert is_fresh or not call.instance.hears

    def _report(self, call: Call, verdict: Verdict) -> None:
        assert call.permit is not None
        instance, before, writes = call.instance, self.model, len(call.instance.store.writes)
        is_current = call.is_known and (call.permit.epoch, call.permit.token) == (before.epoch, before.token)
        saw_nothing = self._sees_nothing_wrong(call)
        heard, began, is_up_to_date = instance.hears, self.clock.now(), facts(instance.known) == before.facts()
        run(self._timed(call, call.watch.report(call.permit, verdict, cause="boom")), self.clock)
        heard = heard and instance.hears
        call.is_over = True
        if not is_current:
            event(f"a late result in {before.state}")
            assert facts(self._breaker()) == before.facts()
            return
        if verdict is Verdict.SUCCESS and saw_nothing:
            assert len(instance.store.writes) == writes
            assert facts(self._breaker()) == before.facts()
            return
        possible = self._possible(before, verdict, call.source)
        self._date(possible[0], began)
        is_a_reset = verdict is Verdict.SUCCESS and before.state == "closed"
        self._take(possible, heard=heard and (is_up_to_date or not is_a_reset))

    def _sees_nothing_wrong(self, call: Call) -> bool:
        known = call.instance.known
        if known.state is not BreakerState.CLOSED:
            return False
        if call.source is Source.CHECK:
            return known.failure_count == 0 or known.failed_in is Source.REQUEST
        return known.failure_count == 0 and known.checks is Credit.TRUSTED

    def _possible(self, before: Model, verdict: Verdict, source: Source) -> list[Model]:
        """What a result makes of the table; then what it may, where the table does not answer, or where the instance
        that resets a count does not know all of it yet.
        """
        after, counted, half_reset = before.hear(verdict, source, self.clock.now()), copy(before), copy(before)
        counted.failures, counted.counted_by = before.failures + 1, source.value
        half_reset.checks = after.checks
        if verdict is Verdict.REJECTION and self._breaker().state is BreakerState.OPEN:
            after.failures = min(after.failures, self._breaker().failure_count)
        if verdict is Verdict.SUCCESS and before.state == "closed":
            return [after, before, half_reset, self._reset(before)]
        return [after, before, counted]

    def _reset(self, before: Model) -> Model:
        after = copy(before)
        after.failures = 0
        return after

    def _date(self, opened: Model, began: datetime) -> None:
        """A write is decided before it arrives, so a breaker may have opened a moment earlier."""
        pause = timedelta(seconds=self.rules.timeout_secs)
        due = self._breaker().retry_at
        if opened.due and due and began + pause <= due <= opened.due:
            opened.due = due

    def _take(self, possible: Sequence[Model], *, heard: bool) -> None:
        found = facts(self._breaker())
        matching = [model for model in possible if model.facts() == found]
        assert matching, f"{found} is none of {[model.facts() for model in possible]}"
        if heard:
            assert found == possible[0].facts()
        if matching[0].state != self.model.state:
            event(f"{self.model.state} became {matching[0].state} {matching[0].checks}")
        self.model = matching[0]

    def _breaker(self) -> Breaker:
        """What is in the table."""
        record = self.table._records.get(P)
        return record.breaker if record else Breaker()

    def _adopt(self, breaker: Breaker) -> None:
        """What arrived late was decided by what was true then; its epoch and lease are those of now."""
        assert breaker.epoch >= self.model.epoch
        lease = breaker.lease
        self.model = copy(self.model)
        self.model.state, self.model.epoch = breaker.state.value, breaker.epoch
        self.model.failures, self.model.successes = breaker.failure_count, breaker.success_count
        self.model.counted_by, self.model.checks = breaker.failed_in.value, breaker.checks.value
        self.model.due = breaker.retry_at
        self.model.token, self.model.until = (lease.token, lease.until) if lease else (None, None)
        for call in self.under_way:
            call.is_known |= call.permit is not None and call.permit.token == self.model.token is not None

    # What always holds.

    @invariant()
    def at_most_one_probe_is_live(self) -> None:
        """Of the probes that the table granted; while it is out, each instance may grant itself one more."""
        now = self.clock.now()
        live = [call for call in self.under_way if not call.is_over and call.until and now < call.until]
        assert sum(call.is_known for call in live) <= 1

    @invariant()
    def nobody_reads_more_than_once_a_second(self) -> None:
        """However many requests an instance serves."""
        for instance in self.fleet:
            for earlier, later in pairwise(instance.store.reads[-3:]):
                assert later - earlier >= SNAPSHOT

    @invariant()
    def nobody_waits_longer_than_a_quarter_of_a_second(self) -> None:
        """All questions of a request together, however the table hangs."""
        assert all(call.waited_s <= PATIENCE_S + 1e-6 for call in self.under_way)

    @invariant()
    def nobody_is_stranded(self) -> None:
        """Once all leases and pauses are over, requests that succeed close the breaker."""
        clock, table = FakeClock(), MemoryProviderStore()
        clock.advance((self.clock.now() - clock.now()).total_seconds() + 100)
        table._records = dict(self.table._records)
        run(self._succeeds(Breakers(table, [P], self.rules, clock)), clock)
        record = table._records.get(P)
        assert record is None or record.breaker.state is BreakerState.CLOSED

    async def _succeeds(self, breakers: Breakers) -> None:
        for _ in range(self.rules.success_threshold):
            watch = await breakers.watch()
            permit = await watch.ask(P, lasts_s=LASTS_S)
            assert isinstance(permit, Permit)
            await watch.report(permit, Verdict.SUCCESS)

    def teardown(self) -> None:
        """Whatever an instance believes by then, it finds out that the provider is back."""
        for instance in getattr(self, "fleet", []):
            instance.store.fault, instance.store.takes_s = Fault.NONE, 0.0
            self.clock.advance(100)
            run(self._succeeds(instance.breakers), self.clock)
            assert self._breaker().state is BreakerState.CLOSED


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=300, stateful_step_count=50)
