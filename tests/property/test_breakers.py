"""A fleet that shares a provider's breaker, and a table that fails in every way: what holds whatever happens.

The fleet is compared with `Model`, one breaker as the contract has it, which knows neither snapshots nor the network.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import currently_in_test_context, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome
from sekha_llm_bridge.resilience import (
    Availability,
    Breaker,
    Breakers,
    BreakerSession,
    BreakerState,
    CheckResult,
    Permit,
    PermitSource,
    ProviderRecord,
)
from sekha_llm_bridge.resilience.breaker import CheckTrust
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.virtual_time import run
from tests.fakes.waiting_clock import PersistentLoop, WaitingClock

T = TypeVar("T")
P = "p"
LASTS_S = 8.0
PATIENCE_S = 0.25
SECOND_LOOK_S = 0.1
SHORTEST_S = 0.1
SNAPSHOT = timedelta(seconds=1)
REQUEST, CHECK = PermitSource.REQUEST, PermitSource.CHECK
SUCCESS, FAILURE, REJECTION, NEUTRAL = (
    CallOutcome.SUCCESS,
    CallOutcome.FAILURE,
    CallOutcome.REJECTION,
    CallOutcome.NEUTRAL,
)


class Model:
    """One breaker, as the contract has it."""

    def __init__(self, rules: CircuitBreakerConfig) -> None:
        self.rules = rules
        self.state, self.epoch, self.failures, self.successes = "closed", 0, 0, 0
        self.counted_by = REQUEST
        self.due: datetime | None = None
        self.token: str | None = None
        self.until: datetime | None = None
        self.check_trust = "trusted"

    def facts(self) -> tuple[object, ...]:
        """What can be seen in the table."""
        counts = (self.epoch, self.failures, self.counted_by, self.successes)
        return (self.state, *counts, self.due, self.token, self.until, self.check_trust)

    @property
    def is_well(self) -> bool:
        """Whether there is nothing that a success could mend."""
        return (self.state, self.failures, self.check_trust) == ("closed", 0, "trusted")

    def refuses(self, source: PermitSource, now: datetime) -> bool:
        """Whether the provider may not be called; where only checks have failed, a request may find out for itself."""
        due = None if (source, self.counted_by) == (REQUEST, CHECK) else self.due
        waits_until = {"closed": None, "open": due, "half_open": self.until}[self.state]
        return waits_until is not None and now < waits_until

    def probe(self, token: str, until: datetime) -> None:
        """Somebody takes the lease."""
        self.state, self.due, self.token, self.until = "half_open", None, token, until
        self.epoch += 1

    def hear(self, verdict: CallOutcome, source: PermitSource, now: datetime) -> "Model":
        """The breaker after a result of now."""
        after = copy(self)
        unheard = {REJECTION, FAILURE} if self.check_trust == "distrusted" else {REJECTION}
        heard = NEUTRAL if source is CHECK and verdict in unheard else verdict
        if self.state == "half_open":
            after._in_half_open(heard, source, now)
        else:
            after._in_closed(heard, source)
            after.trip(now, at=1 if heard is REJECTION else self.rules.failure_threshold)
        return after

    def _in_closed(self, verdict: CallOutcome, source: PermitSource) -> None:
        if verdict in {FAILURE, REJECTION}:
            self.fail(source)
        elif verdict is SUCCESS:
            self.failures = 0 if source is REQUEST or self.counted_by is CHECK else self.failures
            mended = "unconfirmed" if source is REQUEST else "distrusted"
            self.check_trust = "trusted" if self.check_trust == mended else self.check_trust

    def trip(self, now: datetime, *, at: int) -> "Model":
        """Opens it once so many failures have been counted: whoever looks next, where the one who counted died."""
        if self.state == "closed" and self.failures >= at:
            self._open(now)
        return self

    def _in_half_open(self, verdict: CallOutcome, source: PermitSource, now: datetime) -> None:
        self.token = self.until = None
        if verdict in {FAILURE, REJECTION}:
            self.fail(source)
            self._open(now)
            return
        self.epoch += 1
        if verdict is NEUTRAL:
            return
        if self.successes + 1 < self.rules.success_threshold:
            self.successes += 1
        elif source is REQUEST or self.check_trust != "distrusted":
            self.state, self.failures, self.successes = "closed", 0, 0
            borne_out = "trusted" if self.counted_by is REQUEST else "distrusted"
            self.check_trust = borne_out if source is REQUEST else "unconfirmed"

    def fail(self, source: PermitSource) -> None:
        """One failure more; whether all were only checks'."""
        only_checks = source is CHECK and (self.failures == 0 or self.counted_by is CHECK)
        self.failures, self.counted_by = self.failures + 1, CHECK if only_checks else REQUEST

    def _open(self, now: datetime) -> None:
        self.state, self.successes, self.epoch = "open", 0, self.epoch + 1
        self.due = now + timedelta(seconds=self.rules.timeout_secs)
        if self.check_trust == "unconfirmed":
            self.check_trust = "distrusted" if self.counted_by is REQUEST else "trusted"


def facts(breaker: Breaker) -> tuple[object, ...]:
    """What `Model.facts` are of a breaker in the table."""
    counts = (breaker.epoch, breaker.failure_count, breaker.failure_source, breaker.success_count)
    lease = (breaker.lease.token, breaker.lease.until) if breaker.lease else (None, None)
    return (breaker.state.value, *counts, breaker.retry_at, *lease, breaker.check_trust.value)


@dataclass(eq=False)
class Instance:
    """One function instance, with its own way to the table."""

    breakers: Breakers
    store: FaultyStore

    @property
    def known(self) -> Breaker:
        """The breaker that it goes by."""
        return self.breakers.records.get(P, ProviderRecord()).breaker

    @property
    def hears(self) -> bool:
        """Whether the table answers it now, and it goes by what the table has told it."""
        is_told = self.store.told.get(P, Breaker()) == self.known
        return is_told and self.store.fault is Fault.NONE and not self.breakers.is_table_unavailable

    @property
    def sees_nothing_wrong(self) -> bool:
        """Whether a success has nothing to mend, as far as it knows."""
        known = self.known
        return (known.state, known.failure_count, known.check_trust) == (BreakerState.CLOSED, 0, CheckTrust.TRUSTED)


@dataclass(eq=False)
class Call:
    """A request or a check under way. `is_known` says that the table has what its permit says; `answers` is how often
    the table had answered its instance until then.
    """

    instance: Instance
    watch: BreakerSession
    source: PermitSource
    permit: Permit | None = None
    is_known: bool = False
    until: datetime | None = None
    answers: int = 0
    is_over: bool = False


numbers = st.integers(0, 2)
picks = st.integers(0, 5)
sources = st.sampled_from([REQUEST, REQUEST, CHECK])
verdicts = st.sampled_from([SUCCESS] * 3 + [FAILURE] * 4 + [REJECTION, NEUTRAL, NEUTRAL])
faults = st.sampled_from([fault for fault in Fault if fault is not Fault.NONE])
pauses_s = st.sampled_from([0.2, 0.999999, 1.0, 2.0, 5.0, 20.0])


class Fleet(RuleBasedStateMachine):
    """Three instances, whose requests and checks begin and end in any order, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = WaitingClock()
        self.loop = PersistentLoop(self.clock)
        self.table = MemoryProviderStore()
        self.calls: list[Call] = []
        self.waiting: list[Call] = []
        self.seen: list[str] = []
        self.waited_s = defaultdict[BreakerSession, float](float)
        self.tokens = 0
        self.fleet: list[Instance] = []

    @initialize(failures=st.integers(1, 3), successes=st.integers(1, 3), timeout_s=st.sampled_from([2.0, 20.0]))
    def start(self, failures: int, successes: int, timeout_s: float) -> None:
        self.limits = CircuitBreakerConfig(
            failure_threshold=failures, success_threshold=successes, timeout_secs=timeout_s
        )
        self.model = Model(self.limits)
        self.fleet = [self._instance() for _ in range(3)]

    def _instance(self) -> Instance:
        store = FaultyStore(self.table, self.clock)
        return Instance(Breakers(store, [P], self.limits, self.clock, new_token=self._token), store)

    def _token(self) -> str:
        self.tokens += 1
        return f"token {self.tokens}"

    # What happens.

    @rule(seconds=pauses_s)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def all_freeze(self, seconds: float) -> None:
        self.clock.freeze(seconds)

    @rule(later_us=st.sampled_from([-1, 0, 1]))
    def the_wait_ends(self, later_us: int) -> None:
        """Nearly, at this very moment, or just now."""
        end = self.model.due or self.model.until
        if end and end > self.clock.now():
            self.clock.advance((end - self.clock.now() + timedelta(microseconds=later_us)).total_seconds())

    @rule(number=numbers, fault=faults, spares_reads=st.booleans())
    def the_table_fails_one(self, number: int, fault: Fault, spares_reads: bool = False) -> None:  # noqa: FBT001, FBT002 — it is drawn
        self.all_is_mended()
        self.fleet[number].store.fault, self.fleet[number].store.spares_reads = fault, spares_reads

    @rule(number=numbers, takes_s=st.sampled_from([0.01, 0.1, 0.3]))
    def the_table_is_slow_for_one(self, number: int, takes_s: float) -> None:
        self.fleet[number].store.takes_s = takes_s

    @rule()
    def all_is_mended(self) -> None:
        for instance in self.fleet:
            instance.store.fault, instance.store.takes_s = Fault.NONE, 0.0

    @rule(number=numbers)
    def what_was_delayed_arrives(self, number: int) -> None:
        self.loop.run(self.fleet[number].store.deliver())
        if facts(self.breaker) != self.model.facts():
            self._saw("a delayed write arrives")
            assert self.breaker.epoch >= self.model.epoch
            self._adopt(self.breaker)

    @rule(number=numbers, source=sources)
    def one_begins(self, number: int, source: PermitSource) -> None:
        self.waiting += self._begin([self.fleet[number]], source)

    @rule(source=sources)
    def all_begin_at_once(self, source: PermitSource) -> None:
        self.waiting += self._begin(self.fleet, source)

    @rule(number=numbers, source=sources)
    def two_of_one_instance_begin_at_once(self, number: int, source: PermitSource) -> None:
        instance = self.fleet[number]
        if instance.store.fault is Fault.NONE and instance.store.takes_s < PATIENCE_S / 2:
            self.waiting += self._begin([instance, instance], source)

    @rule(pick=picks)
    def one_asks_again(self, pick: int) -> None:
        """Its next candidate is another model of the same provider."""
        if self.waiting:
            first = self.waiting[pick % len(self.waiting)]
            again = Call(first.instance, first.watch, first.source)
            self.waiting += self._ask([again])

    @rule(pick=picks, verdict=verdicts)
    def one_ends(self, pick: int, verdict: CallOutcome) -> None:
        if self.waiting:
            self._report(self.waiting.pop(pick % len(self.waiting)), verdict)

    @rule()
    def all_requests_that_the_table_hears_of_fail_at_once(self) -> None:
        calls = [call for call in self.waiting if self.model.state == "closed" and self._is_current(call)]
        calls = [call for call in calls if call.source is REQUEST and call.instance.hears and self._has_patience(call)]
        calls = list({call.instance: call for call in calls}.values())
        self.waiting = [call for call in self.waiting if call not in calls]
        self.loop.run(self._all(self._timed(call, self._reports(call, FAILURE)) for call in calls))
        self._judge_failures(calls)

    @rule(number=numbers, source=sources, verdict=verdicts)
    def one_comes_and_goes(self, number: int, source: PermitSource, verdict: CallOutcome) -> None:
        for call in self._begin([self.fleet[number]], source):
            self._report(call, verdict)

    @rule(number=numbers, source=sources)
    def the_provider_fails_one(self, number: int, source: PermitSource) -> None:
        for _ in range(self.limits.failure_threshold):
            self.one_comes_and_goes(number, source, FAILURE)

    @rule(number=numbers, source=sources)
    def the_provider_is_back_for_one(self, number: int, source: PermitSource) -> None:
        for _ in range(self.limits.success_threshold):
            self.the_wait_ends(0)
            self.one_comes_and_goes(number, source, SUCCESS)

    @rule(number=numbers, is_healthy=st.booleans())
    def a_check_is_recorded(self, number: int, is_healthy: bool) -> None:  # noqa: FBT001 — it is drawn
        call, before = self._watch(self.fleet[number], CHECK), self.breaker
        result = CheckResult(P, is_healthy, None, self.clock.now())
        self.loop.run(self._timed(call, call.watch.record_check(result)))
        assert self.breaker == before

    # What each of these may do.

    @property
    def breaker(self) -> Breaker:
        """What is in the table."""
        return self.table._records.get(P, ProviderRecord()).breaker

    def _begin(self, instances: Sequence[Instance], source: PermitSource) -> list[Call]:
        calls = [self._watch(instance, source) for instance in instances]
        return self._ask([call for call in calls if not self._is_left_out(call)])

    def _watch(self, instance: Instance, source: PermitSource) -> Call:
        """A request begins with a snapshot: whoever reads the table just now knows all of it."""
        reads, started_s = len(instance.store.reads), self.clock.monotonic_s()
        call = Call(instance, self.loop.run(instance.breakers.session()), source)
        self.waited_s[call.watch] = self.clock.monotonic_s() - started_s
        self.calls.append(call)
        if len(instance.store.reads) > reads and instance.hears:
            assert facts(instance.known) == self.model.facts()
            assert self._is_left_out(call) == (source is REQUEST and self.model.refuses(REQUEST, self.clock.now()))
        return call

    def _is_left_out(self, call: Call) -> bool:
        """Whether no plan would have the provider; checks have no plan."""
        view = call.watch.views().get(P)
        return call.source is REQUEST and view is not None and view.availability is Availability.BLOCKED

    def _ask(self, calls: Sequence[Call]) -> list[Call]:
        """Those that have leave; the table has changed only if somebody whose turn it is has the lease."""
        astray = sum(instance.store.astray for instance in self.fleet)
        asked = (self._timed(call, call.watch.request_permit(P, lasts_s=LASTS_S, source=call.source)) for call in calls)
        outcomes = self.loop.run(self._all(asked))
        if facts(self.breaker) != self.model.facts():
            tokens = {outcome.token for outcome in outcomes if isinstance(outcome, Permit)}
            assert self.breaker.lease is not None
            assert self.breaker.lease.token in tokens
            is_astray = sum(instance.store.astray for instance in self.fleet) > astray
            self._adopt_of_astray() if is_astray else self._judge_probe(self.breaker, calls[0].source)
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Permit):
                self._judge_permit(call, outcome)
        return [call for call in calls if call.permit]

    def _judge_probe(self, found: Breaker, source: PermitSource) -> None:
        assert found.lease is not None
        assert self.model.state != "closed"
        assert not self.model.refuses(source, self.clock.now())
        self._saw(f"a probe begins in {self.model.state}" + (", whose prober died" if self.model.token else ""))
        self.model.probe(found.lease.token, found.lease.until)
        assert facts(found) == self.model.facts()

    def _judge_permit(self, call: Call, permit: Permit) -> None:
        call.permit, call.answers = permit, call.instance.store.answers
        if call not in self.calls:
            self.calls.append(call)
        if permit.token is None:
            call.is_known = (self.model.state, self.model.epoch) == ("closed", permit.epoch)
            self._a_call_through_an_open_breaker_knew_no_better(call)
            return
        call.is_known, call.until = permit.token == self.model.token, self.model.until
        if not call.is_known:
            call.until = self.clock.now() + timedelta(seconds=LASTS_S)
            self._saw("a probe without the table")
            assert not call.instance.hears

    def _a_call_through_an_open_breaker_knew_no_better(self, call: Call) -> None:
        """With a table that answers, an open breaker is called through for one second after it opened at most."""
        if self.model.refuses(call.source, self.clock.now()):
            self._saw("a call just after the breaker opened")
            is_fresh = self.clock.now() - call.instance.store.reads[-1] < SNAPSHOT
            assert is_fresh or self._is_impatient(call) or not call.instance.hears

    def _is_impatient(self, call: Call) -> bool:
        """Whether it has waited so long that it asks the table no more."""
        return self.waited_s[call.watch] > PATIENCE_S - SHORTEST_S - 1e-6

    def _is_current(self, call: Call) -> bool:
        """Whether the table still has what the call was granted by."""
        is_same = call.permit and (call.permit.epoch, call.permit.token) == (self.model.epoch, self.model.token)
        return bool(is_same and call.is_known)

    def _report(self, call: Call, verdict: CallOutcome) -> None:
        """A result changes what the model says. Where the table does not answer, or the instance does not know the
        newest, it may change less; and where nothing is wrong, a success writes nothing.
        """
        instance, began, store = call.instance, self.clock.now(), call.instance.store
        astray, is_current = store.astray, self._is_current(call)
        is_well = verdict is SUCCESS and instance.sees_nothing_wrong and self.model.is_well
        is_added = is_current and (verdict, call.source) == (FAILURE, REQUEST)
        knew = instance.hears and (is_added or facts(instance.known) == self.model.facts())
        reads, writes = len(store.reads), len(store.writes)
        self.loop.run(self._timed(call, self._reports(call, verdict)))
        if is_well:
            self._saw("nothing is wrong")
            assert len(store.writes) == writes
        if store.astray > astray:
            self._adopt_of_astray()
            return
        could_ask = instance.hears and not self._is_impatient(call)
        is_certain = could_ask and (knew or len(store.reads) > reads)
        outcomes = self._outcomes(call, verdict, began) if is_current else self._late_outcomes(began)
        self._become(outcomes[:1] if is_certain else outcomes)

    async def _reports(self, call: Call, verdict: CallOutcome) -> None:
        assert call.permit is not None
        call.is_over = True
        await call.watch.report_outcome(call.permit, verdict, cause="boom")

    def _outcomes(self, call: Call, verdict: CallOutcome, began: datetime) -> list[Model]:
        """What a result makes of the breaker. Then what it may: one of two writes, half a reset, or nothing."""
        after = self.model.hear(verdict, call.source, self.clock.now())
        self._date(after, began)
        if (verdict, self.breaker.state) == (REJECTION, BreakerState.OPEN):  # whatever the instance knows of the rest
            after.failures = min(after.failures, self.breaker.failure_count)
            after.check_trust, after.counted_by = self.breaker.check_trust.value, self.breaker.failure_source
        halves = [copy(self.model) for _ in range(4)]
        if verdict is SUCCESS:
            halves[0].check_trust = halves[1].check_trust = after.check_trust
            halves[1].failures = halves[2].failures = 0
        elif verdict is FAILURE:
            halves[0].failures = halves[1].failures = self.model.failures + 1
            halves[0].counted_by, halves[1].counted_by = REQUEST, call.source
        return [after, *(self._tripped(half, began) for half in halves), *halves]

    def _tripped(self, counted: Model, began: datetime) -> Model:
        """If enough failures have been counted, whoever comes by opens the breaker."""
        after = copy(counted).trip(self.clock.now(), at=self.limits.failure_threshold)
        self._date(after, began)
        return after

    def _late_outcomes(self, began: datetime) -> list[Model]:
        """It changes nothing, but somebody has come by."""
        self._saw(f"a late result in {self.model.state}")
        return [self._tripped(self.model, began), self.model]

    def _date(self, after: Model, began: datetime) -> None:
        """It is decided a moment before it is written."""
        if after.due and (due := self.breaker.retry_at):
            earliest = began + timedelta(seconds=self.limits.timeout_secs)
            after.due = min(max(due, earliest), after.due)

    def _become(self, outcomes: Sequence[Model]) -> None:
        found = facts(self.breaker)
        matching = [model for model in outcomes if model.facts() == found]
        assert matching, f"{found} is none of {[model.facts() for model in outcomes]}"
        if matching[0].state != self.model.state:
            self._saw(f"{self.model.state} becomes {matching[0].state} {matching[0].check_trust}")
        self.model = matching[0]

    def _judge_failures(self, calls: Sequence[Call]) -> None:
        """None is lost: as many as were reported have been counted, or the breaker has opened, once."""
        failures = self.model.failures + len(calls)
        found = self.breaker
        if calls and failures >= self.limits.failure_threshold:
            self._saw("failures at once open")
            assert (found.state, found.epoch) == (BreakerState.OPEN, self.model.epoch + 1)
            assert self.limits.failure_threshold <= found.failure_count <= failures
        else:
            assert (found.state, found.epoch) == (BreakerState(self.model.state), self.model.epoch)
            assert found.failure_count == failures
        self._adopt(found)

    def _adopt_of_astray(self) -> None:
        """An instance that has gone by a breaker of its own counts its own epochs, which may happen to be the table's:
        what it then writes is taken as it is.
        """
        if facts(self.breaker) != self.model.facts():
            self._saw("a write of one that was astray")
            assert self.breaker.epoch >= self.model.epoch
            self._adopt(self.breaker)

    def _adopt(self, found: Breaker) -> None:
        """What cannot be foretold: which of many came first, or what was delayed."""
        model = self.model = copy(self.model)
        model.state, model.epoch, model.failures = found.state.value, found.epoch, found.failure_count
        model.successes, model.counted_by, model.check_trust = (
            found.success_count,
            found.failure_source,
            found.check_trust.value,
        )
        model.due = found.retry_at
        model.token, model.until = (found.lease.token, found.lease.until) if found.lease else (None, None)
        for call in self.calls:
            call.is_known |= call.permit is not None and call.permit.token == model.token is not None

    def _has_patience(self, call: Call) -> bool:
        """For the two writes of a failure that opens: each is asked only with so much left, and the second look between
        them leaves as much.
        """
        takes_s = call.instance.store.takes_s
        return takes_s < SHORTEST_S and self.waited_s[call.watch] + takes_s <= PATIENCE_S - SHORTEST_S

    async def _timed(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        started_s = self.clock.monotonic_s()
        try:
            return await work
        finally:
            self.waited_s[call.watch] += self.clock.monotonic_s() - started_s

    async def _all(self, works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        return await asyncio.gather(*works)

    def _saw(self, what: str) -> None:
        self.seen.append(what)
        if currently_in_test_context():
            event(what)

    # What always holds.

    @invariant()
    def at_most_one_probe_is_live(self) -> None:
        """Of those that the table granted. Of those that an instance granted itself, one until it hears of the table."""
        live = [call for call in self.calls if not call.is_over and call.until and self.clock.now() < call.until]
        assert sum(call.is_known for call in live) <= 1
        alone = Counter((call.instance, call.answers) for call in live if not call.is_known)
        assert max(alone.values(), default=0) <= 1

    @invariant()
    def the_table_is_read_at_most_once_a_second_by_each(self) -> None:
        """However many requests an instance serves."""
        for instance in self.fleet:
            reads = instance.store.reads[-3:]
            answered = [read for read in instance.store.answered[-3:] if read in reads]
            assert all(later - earlier >= SNAPSHOT for earlier in answered for later in reads if later > earlier)

    @invariant()
    def nobody_waits_longer_than_a_quarter_of_a_second(self) -> None:
        """All that a request asks of the table together, however it hangs."""
        assert max(self.waited_s.values(), default=0) <= PATIENCE_S + 1e-6

    @invariant()
    def nobody_is_stranded(self) -> None:
        """Once every lease and every pause is over, as many requests as it takes close the breaker for a newcomer."""
        clock, table = WaitingClock(), MemoryProviderStore()
        clock.advance((self.clock.now() - clock.now()).total_seconds() + 100)
        table._records = dict(self.table._records)
        if table._records:
            run(self._close(Breakers(table, [P], self.limits, clock)), clock)
            assert table._records[P].breaker.state is BreakerState.CLOSED

    def teardown(self) -> None:
        """Nor is anybody who was there, whatever they have come to believe."""
        self.all_is_mended()
        for instance in self.fleet:
            self.clock.advance(100)
            self.loop.run(self._close(instance.breakers))
            assert self.breaker.state is BreakerState.CLOSED
            assert instance.known == self.breaker
        self.loop.close()

    async def _close(self, breakers: Breakers) -> None:
        for _ in range(self.limits.success_threshold):
            watch = await breakers.session()
            permit = await watch.request_permit(P, lasts_s=LASTS_S)
            assert isinstance(permit, Permit)
            await watch.report_outcome(permit, SUCCESS)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=400, stateful_step_count=40)


Lead = Callable[..., Fleet]


@pytest.fixture
def lead() -> Iterator[Lead]:
    """Makes a fleet to be led by hand; every step is compared with the model as above."""
    led = []

    def begin(failures: int = 5, successes: int = 2, timeout_s: float = 20.0) -> Fleet:
        machine = Fleet()
        led.append(machine)
        machine.start(failures, successes, timeout_s)
        return machine

    yield begin
    for machine in led:
        machine.teardown()


def test_failures_of_the_whole_fleet_open_and_probes_of_any_instance_close(lead: Lead) -> None:
    machine = lead()
    for number in (0, 1, 2, 0):
        machine.one_comes_and_goes(number, REQUEST, FAILURE)
    assert (machine.model.state, machine.model.failures) == ("closed", 4)
    machine.one_comes_and_goes(1, REQUEST, FAILURE)
    machine.time_passes(1.0)
    machine.one_begins(2, REQUEST)
    assert machine.waiting == []
    machine.the_wait_ends(0)
    machine.one_comes_and_goes(2, REQUEST, SUCCESS)
    machine.one_comes_and_goes(0, REQUEST, SUCCESS)
    assert machine.seen == [
        "closed becomes open trusted",
        "a probe begins in open",
        "a probe begins in half_open",
        "half_open becomes closed trusted",
    ]


def test_of_all_that_ask_at_once_one_probes(lead: Lead) -> None:
    machine = lead()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_wait_ends(0)
    for instance in machine.fleet:
        instance.store.takes_s = 0.05
    machine.all_begin_at_once(REQUEST)
    assert len(machine.waiting) == 1
    machine.one_ends(0, FAILURE)
    assert (machine.model.state, machine.model.failures) == ("open", 6)


def test_of_two_that_one_instance_asks_for_at_once_one_probes(lead: Lead) -> None:
    machine = lead()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_wait_ends(0)
    machine.fleet[0].store.takes_s = 0.1
    machine.two_of_one_instance_begin_at_once(0, REQUEST)
    assert len(machine.waiting) == 1


def test_a_prober_that_dies_loses_its_lease_and_what_it_reports_then_changes_nothing(lead: Lead) -> None:
    machine = lead()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_wait_ends(0)
    machine.one_begins(0, REQUEST)
    machine.the_wait_ends(-1)
    machine.one_begins(1, REQUEST)
    assert len(machine.waiting) == 1
    machine.time_passes(1.0)
    machine.one_begins(1, REQUEST)
    assert len(machine.waiting) == 2
    machine.one_ends(0, FAILURE)
    assert machine.model.state == "half_open"
    machine.one_ends(0, SUCCESS)
    assert machine.model.successes == 1
    assert machine.seen[-2:] == ["a probe begins in half_open, whose prober died", "a late result in half_open"]


def test_a_result_from_before_the_breaker_opened_and_closed_again_does_not_count(lead: Lead) -> None:
    machine = lead(failures=1, successes=1)
    machine.all_begin_at_once(REQUEST)
    machine.one_ends(0, FAILURE)
    machine.the_provider_is_back_for_one(0, REQUEST)
    machine.one_ends(0, FAILURE)
    machine.one_ends(0, REJECTION)
    assert (machine.model.state, machine.model.failures) == ("closed", 0)
    assert machine.seen[-2:] == ["a late result in closed"] * 2


def test_failures_at_the_same_moment_are_all_counted_and_open_once(lead: Lead) -> None:
    machine = lead(failures=3)
    for instance in machine.fleet:
        instance.store.takes_s = 0.02
    machine.all_begin_at_once(REQUEST)
    machine.all_requests_that_the_table_hears_of_fail_at_once()
    assert (machine.model.state, machine.model.failures, machine.model.epoch) == ("open", 3, 1)


def test_checks_that_misled_leave_the_closing_to_a_request(lead: Lead) -> None:
    machine = lead(failures=2, successes=2)
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_provider_is_back_for_one(1, CHECK)
    assert (machine.model.state, machine.model.check_trust) == ("closed", "unconfirmed")
    machine.time_passes(1.0)
    machine.the_provider_fails_one(0, REQUEST)
    assert (machine.model.state, machine.model.check_trust) == ("open", "distrusted")
    machine.the_provider_is_back_for_one(1, CHECK)
    machine.the_provider_is_back_for_one(1, CHECK)
    assert (machine.model.state, machine.model.successes) == ("half_open", 1)
    machine.time_passes(1.0)
    machine.one_comes_and_goes(2, REQUEST, SUCCESS)
    assert (machine.model.state, machine.model.check_trust) == ("closed", "trusted")


def test_while_the_table_is_out_each_instance_probes_for_itself(lead: Lead) -> None:
    machine = lead()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_wait_ends(1)
    for instance in machine.fleet:
        machine.loop.run(instance.breakers.session())
        instance.store.fault = Fault.HANGS
    machine.all_begin_at_once(REQUEST)
    machine.all_begin_at_once(REQUEST)
    assert len(machine.waiting) == 3
    assert machine.seen[-3:] == ["a probe without the table"] * 3
    machine.all_is_mended()
    machine.time_passes(5.0)
    machine.one_begins(0, REQUEST)
    assert machine.model.state == "half_open"


def test_a_lease_that_was_taken_though_the_answer_was_lost_is_good(lead: Lead) -> None:
    machine = lead(successes=1)
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_wait_ends(0)
    machine.loop.run(machine.fleet[0].breakers.session())
    machine.the_table_fails_one(0, Fault.ANSWER_LOST)
    machine.one_begins(0, REQUEST)
    machine.all_is_mended()
    machine.time_passes(5.0)
    machine.one_ends(0, SUCCESS)
    assert machine.model.state == "closed"


def test_a_failure_that_was_counted_though_the_answer_was_lost_opens_with_the_next_one(lead: Lead) -> None:
    machine = lead(failures=2)
    machine.one_comes_and_goes(1, REQUEST, FAILURE)
    machine.one_begins(0, REQUEST)
    machine.the_table_fails_one(0, Fault.ANSWER_LOST)
    machine.one_ends(0, FAILURE)
    assert (machine.model.state, machine.model.failures) == ("closed", 2)
    machine.one_comes_and_goes(1, REQUEST, FAILURE)
    assert machine.model.state == "open"


def test_a_write_that_arrives_late_takes_nothing_from_whoever_came_first(lead: Lead) -> None:
    machine = lead()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_wait_ends(0)
    for instance in machine.fleet:
        machine.loop.run(instance.breakers.session())
    machine.the_table_fails_one(0, Fault.DELAYED)
    machine.one_begins(0, REQUEST)
    machine.all_is_mended()
    machine.one_begins(1, REQUEST)
    before = machine.breaker
    machine.what_was_delayed_arrives(0)
    assert machine.breaker == before
    assert len(machine.waiting) == 2
