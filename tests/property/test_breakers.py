"""Instances that share a breaker, and a table that fails in every way: invariants of any sequence of events.

The instances are compared with `Model`: one breaker without caches and without a network.
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
BUDGET_S = 0.25
OPENING_DELAY_S = 0.1
MIN_WAIT_S = 0.1
SNAPSHOT = timedelta(seconds=1)
REQUEST, CHECK = PermitSource.REQUEST, PermitSource.CHECK
SUCCESS, FAILURE, REJECTION, NEUTRAL = (
    CallOutcome.SUCCESS,
    CallOutcome.FAILURE,
    CallOutcome.REJECTION,
    CallOutcome.NEUTRAL,
)


class Model:
    """One breaker, as specified."""

    def __init__(self, rules: CircuitBreakerConfig) -> None:
        self.rules = rules
        self.state, self.epoch, self.failures, self.successes = "closed", 0, 0, 0
        self.counted_by = REQUEST
        self.due: datetime | None = None
        self.token: str | None = None
        self.until: datetime | None = None
        self.check_trust = "trusted"

    def facts(self) -> tuple[object, ...]:
        """Returns the fields that the table stores."""
        counts = (self.epoch, self.failures, self.counted_by, self.successes)
        return (self.state, *counts, self.due, self.token, self.until, self.check_trust)

    @property
    def has_no_failures(self) -> bool:
        """Returns whether a success would change nothing."""
        return (self.state, self.failures, self.check_trust) == ("closed", 0, "trusted")

    def refuses(self, source: PermitSource, now: datetime) -> bool:
        """Returns whether a call is refused. If only checks failed, a request may probe at once."""
        due = None if (source, self.counted_by) == (REQUEST, CHECK) else self.due
        waits_until = {"closed": None, "open": due, "half_open": self.until}[self.state]
        return waits_until is not None and now < waits_until

    def probe(self, token: str, until: datetime) -> None:
        """Gives the lease to a probe."""
        self.state, self.due, self.token, self.until = "half_open", None, token, until
        self.epoch += 1

    def after_outcome(self, outcome: CallOutcome, source: PermitSource, now: datetime) -> "Model":
        """Returns the breaker after an outcome that is reported now."""
        after = copy(self)
        ignored = {REJECTION, FAILURE} if self.check_trust == "distrusted" else {REJECTION}
        counted_outcome = NEUTRAL if source is CHECK and outcome in ignored else outcome
        if self.state == "half_open":
            after._in_half_open(counted_outcome, source, now)
        else:
            after._in_closed(counted_outcome, source)
            after.open_if_due(now, at=1 if counted_outcome is REJECTION else self.rules.failure_threshold)
        return after

    def _in_closed(self, outcome: CallOutcome, source: PermitSource) -> None:
        if outcome in {FAILURE, REJECTION}:
            self.fail(source)
        elif outcome is SUCCESS:
            self.failures = 0 if source is REQUEST or self.counted_by is CHECK else self.failures
            resolved = "unconfirmed" if source is REQUEST else "distrusted"
            self.check_trust = "trusted" if self.check_trust == resolved else self.check_trust

    def open_if_due(self, now: datetime, *, at: int) -> "Model":
        """Opens the breaker if `at` failures have been counted, perhaps by an instance that died before it could open."""
        if self.state == "closed" and self.failures >= at:
            self._open(now)
        return self

    def _in_half_open(self, outcome: CallOutcome, source: PermitSource, now: datetime) -> None:
        self.token = self.until = None
        if outcome in {FAILURE, REJECTION}:
            self.fail(source)
            self._open(now)
            return
        self.epoch += 1
        if outcome is NEUTRAL:
            return
        if self.successes + 1 < self.rules.success_threshold:
            self.successes += 1
        elif source is REQUEST or self.check_trust != "distrusted":
            self.state, self.failures, self.successes = "closed", 0, 0
            agreement = "trusted" if self.counted_by is REQUEST else "distrusted"
            self.check_trust = agreement if source is REQUEST else "unconfirmed"

    def fail(self, source: PermitSource) -> None:
        """Adds a failure."""
        only_checks = source is CHECK and (self.failures == 0 or self.counted_by is CHECK)
        self.failures, self.counted_by = self.failures + 1, CHECK if only_checks else REQUEST

    def _open(self, now: datetime) -> None:
        self.state, self.successes, self.epoch = "open", 0, self.epoch + 1
        self.due = now + timedelta(seconds=self.rules.timeout_secs)
        if self.check_trust == "unconfirmed":
            self.check_trust = "distrusted" if self.counted_by is REQUEST else "trusted"


def facts(breaker: Breaker) -> tuple[object, ...]:
    """Returns the `Model.facts` of a stored breaker."""
    counts = (breaker.epoch, breaker.failure_count, breaker.failure_source, breaker.success_count)
    lease = (breaker.lease.token, breaker.lease.until) if breaker.lease else (None, None)
    return (breaker.state.value, *counts, breaker.retry_at, *lease, breaker.check_trust.value)


@dataclass(eq=False)
class Instance:
    """One function instance, with its own connection to the table."""

    breakers: Breakers
    store: FaultyStore

    @property
    def known(self) -> Breaker:
        """The breaker in its cache."""
        return self.breakers.records.get(P, ProviderRecord()).breaker

    @property
    def is_connected(self) -> bool:
        """Whether the table answers it, and its cache is what the table last returned."""
        is_cache_current = self.store.last_answers.get(P, Breaker()) == self.known
        return is_cache_current and self.store.fault is Fault.NONE and not self.breakers.is_table_unavailable

    @property
    def has_no_failures(self) -> bool:
        """Whether a success would change nothing, according to its cache."""
        known = self.known
        return (known.state, known.failure_count, known.check_trust) == (BreakerState.CLOSED, 0, CheckTrust.TRUSTED)


@dataclass(eq=False)
class Call:
    """A running request or check. `is_in_table` says whether the table has the epoch and token of its permit.

    `answers` is the number of answers that its instance had received from the table before.
    """

    instance: Instance
    session: BreakerSession
    source: PermitSource
    permit: Permit | None = None
    is_in_table: bool = False
    until: datetime | None = None
    answers: int = 0
    is_over: bool = False


numbers = st.integers(0, 2)
positions = st.integers(0, 5)
sources = st.sampled_from([REQUEST, REQUEST, CHECK])
outcome_values = st.sampled_from([SUCCESS] * 3 + [FAILURE] * 4 + [REJECTION, NEUTRAL, NEUTRAL])
faults = st.sampled_from([fault for fault in Fault if fault is not Fault.NONE])
pauses_s = st.sampled_from([0.2, 0.999999, 1.0, 2.0, 5.0, 20.0])


class Fleet(RuleBasedStateMachine):
    """Three instances whose requests and checks start and end in any order, or never end."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = WaitingClock()
        self.loop = PersistentLoop(self.clock)
        self.table = MemoryProviderStore()
        self.calls: list[Call] = []
        self.waiting: list[Call] = []
        self.events: list[str] = []
        self.waited_s = defaultdict[BreakerSession, float](float)
        self.tokens = 0
        self.fleet: list[Instance] = []

    @initialize(failures=st.integers(1, 3), successes=st.integers(1, 3), timeout_s=st.sampled_from([2.0, 20.0]))
    def start(self, failures: int, successes: int, timeout_s: float) -> None:
        self.breaker_rules = CircuitBreakerConfig(
            failure_threshold=failures, success_threshold=successes, timeout_secs=timeout_s
        )
        self.model = Model(self.breaker_rules)
        self.fleet = [self._instance() for _ in range(3)]

    def _instance(self) -> Instance:
        store = FaultyStore(self.table, self.clock)
        return Instance(Breakers(store, [P], self.breaker_rules, self.clock, new_token=self._token), store)

    def _token(self) -> str:
        self.tokens += 1
        return f"token {self.tokens}"

    # Events.

    @rule(seconds=pauses_s)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def all_freeze(self, seconds: float) -> None:
        self.clock.freeze(seconds)

    @rule(later_us=st.sampled_from([-1, 0, 1]))
    def the_pause_ends(self, later_us: int) -> None:
        """Moves the clock to the end of the pause, or to one microsecond before or after it."""
        end = self.model.due or self.model.until
        if end and end > self.clock.now():
            self.clock.advance((end - self.clock.now() + timedelta(microseconds=later_us)).total_seconds())

    @rule(number=numbers, fault=faults, spares_reads=st.booleans())
    def the_table_fails_one(self, number: int, fault: Fault, spares_reads: bool = False) -> None:  # noqa: FBT001, FBT002 — Hypothesis generates it
        self.all_faults_end()
        self.fleet[number].store.fault, self.fleet[number].store.spares_reads = fault, spares_reads

    @rule(number=numbers, takes_s=st.sampled_from([0.01, 0.1, 0.3]))
    def the_table_is_slow_for_one(self, number: int, takes_s: float) -> None:
        self.fleet[number].store.takes_s = takes_s

    @rule()
    def all_faults_end(self) -> None:
        for instance in self.fleet:
            instance.store.fault, instance.store.takes_s = Fault.NONE, 0.0

    @rule(number=numbers)
    def delayed_writes_arrive(self, number: int) -> None:
        self.loop.run(self.fleet[number].store.deliver())
        if facts(self.breaker) != self.model.facts():
            self._note_event("a delayed write arrives")
            assert self.breaker.epoch >= self.model.epoch
            self._adopt(self.breaker)

    @rule(number=numbers, source=sources)
    def one_starts(self, number: int, source: PermitSource) -> None:
        self.waiting += self._start([self.fleet[number]], source)

    @rule(source=sources)
    def all_start_at_once(self, source: PermitSource) -> None:
        self.waiting += self._start(self.fleet, source)

    @rule(number=numbers, source=sources)
    def two_of_one_instance_start_at_once(self, number: int, source: PermitSource) -> None:
        instance = self.fleet[number]
        if instance.store.fault is Fault.NONE and instance.store.takes_s < BUDGET_S / 2:
            self.waiting += self._start([instance, instance], source)

    @rule(position=positions)
    def one_requests_another_permit(self, position: int) -> None:
        """A request whose next candidate is another model of the same provider."""
        if self.waiting:
            first = self.waiting[position % len(self.waiting)]
            again = Call(first.instance, first.session, first.source)
            self.waiting += self._request_permits([again])

    @rule(position=positions, outcome=outcome_values)
    def one_ends(self, position: int, outcome: CallOutcome) -> None:
        if self.waiting:
            self._report(self.waiting.pop(position % len(self.waiting)), outcome)

    @rule()
    def all_connected_requests_fail_at_once(self) -> None:
        calls = [call for call in self.waiting if self.model.state == "closed" and self._is_current(call)]
        calls = [
            call
            for call in calls
            if call.source is REQUEST and call.instance.is_connected and self._has_budget_for_two_writes(call)
        ]
        calls = list({call.instance: call for call in calls}.values())
        self.waiting = [call for call in self.waiting if call not in calls]
        self.loop.run(self._all(self._timed(call, self._reports(call, FAILURE)) for call in calls))
        self._verify_failures(calls)

    @rule(number=numbers, source=sources, outcome=outcome_values)
    def one_starts_and_ends(self, number: int, source: PermitSource, outcome: CallOutcome) -> None:
        for call in self._start([self.fleet[number]], source):
            self._report(call, outcome)

    @rule(number=numbers, source=sources)
    def the_provider_fails_one(self, number: int, source: PermitSource) -> None:
        for _ in range(self.breaker_rules.failure_threshold):
            self.one_starts_and_ends(number, source, FAILURE)

    @rule(number=numbers, source=sources)
    def the_provider_recovers_for_one(self, number: int, source: PermitSource) -> None:
        for _ in range(self.breaker_rules.success_threshold):
            self.the_pause_ends(0)
            self.one_starts_and_ends(number, source, SUCCESS)

    @rule(number=numbers, is_healthy=st.booleans())
    def a_check_is_recorded(self, number: int, is_healthy: bool) -> None:  # noqa: FBT001 — Hypothesis generates it
        call, before = self._start_session(self.fleet[number], CHECK), self.breaker
        result = CheckResult(P, is_healthy, None, self.clock.now())
        self.loop.run(self._timed(call, call.session.record_check(result)))
        assert self.breaker == before

    # Comparison with the model.

    @property
    def breaker(self) -> Breaker:
        """The stored breaker."""
        return self.table._records.get(P, ProviderRecord()).breaker

    def _start(self, instances: Sequence[Instance], source: PermitSource) -> list[Call]:
        calls = [self._start_session(instance, source) for instance in instances]
        return self._request_permits([call for call in calls if not self._is_blocked(call)])

    def _start_session(self, instance: Instance, source: PermitSource) -> Call:
        """Starts a session. If it read the table, its cache must equal the model."""
        reads, started_s = len(instance.store.reads), self.clock.monotonic_s()
        call = Call(instance, self.loop.run(instance.breakers.session()), source)
        self.waited_s[call.session] = self.clock.monotonic_s() - started_s
        self.calls.append(call)
        if len(instance.store.reads) > reads and instance.is_connected:
            assert facts(instance.known) == self.model.facts()
            assert self._is_blocked(call) == (source is REQUEST and self.model.refuses(REQUEST, self.clock.now()))
        return call

    def _is_blocked(self, call: Call) -> bool:
        """Returns whether a plan would exclude the provider. Checks have no plan."""
        view = call.session.views().get(P)
        return call.source is REQUEST and view is not None and view.availability is Availability.BLOCKED

    def _request_permits(self, calls: Sequence[Call]) -> list[Call]:
        """Returns the calls that got a permit. The table may change only by a lease for one of them."""
        outdated_writes = sum(instance.store.outdated_writes for instance in self.fleet)
        asked = (
            self._timed(call, call.session.request_permit(P, lasts_s=LASTS_S, source=call.source)) for call in calls
        )
        outcomes = self.loop.run(self._all(asked))
        if facts(self.breaker) != self.model.facts():
            tokens = {outcome.token for outcome in outcomes if isinstance(outcome, Permit)}
            assert self.breaker.lease is not None
            assert self.breaker.lease.token in tokens
            is_astray = sum(instance.store.outdated_writes for instance in self.fleet) > outdated_writes
            self._adopt_outdated_write() if is_astray else self._verify_probe(self.breaker, calls[0].source)
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Permit):
                self._verify_permit(call, outcome)
        return [call for call in calls if call.permit]

    def _verify_probe(self, found: Breaker, source: PermitSource) -> None:
        assert found.lease is not None
        assert self.model.state != "closed"
        assert not self.model.refuses(source, self.clock.now())
        self._note_event(f"a probe begins in {self.model.state}" + (", whose prober died" if self.model.token else ""))
        self.model.probe(found.lease.token, found.lease.until)
        assert facts(found) == self.model.facts()

    def _verify_permit(self, call: Call, permit: Permit) -> None:
        call.permit, call.answers = permit, call.instance.store.answers
        if call not in self.calls:
            self.calls.append(call)
        if permit.token is None:
            call.is_in_table = (self.model.state, self.model.epoch) == ("closed", permit.epoch)
            self._verify_call_through_an_open_breaker(call)
            return
        call.is_in_table, call.until = permit.token == self.model.token, self.model.until
        if not call.is_in_table:
            call.until = self.clock.now() + timedelta(seconds=LASTS_S)
            self._note_event("a probe without the table")
            assert not call.instance.is_connected

    def _verify_call_through_an_open_breaker(self, call: Call) -> None:
        """If the table answers, calls are permitted for at most one second after the breaker opened."""
        if self.model.refuses(call.source, self.clock.now()):
            self._note_event("a call just after the breaker opened")
            is_fresh = self.clock.now() - call.instance.store.reads[-1] < SNAPSHOT
            assert is_fresh or self._has_spent_its_budget(call) or not call.instance.is_connected

    def _has_spent_its_budget(self, call: Call) -> bool:
        """Returns whether it waited so long that it makes no more calls of the table."""
        return self.waited_s[call.session] > BUDGET_S - MIN_WAIT_S - 1e-6

    def _is_current(self, call: Call) -> bool:
        """Returns whether the table still has the epoch and token of the call's permit."""
        is_same = call.permit and (call.permit.epoch, call.permit.token) == (self.model.epoch, self.model.token)
        return bool(is_same and call.is_in_table)

    def _report(self, call: Call, outcome: CallOutcome) -> None:
        """Reports an outcome: the table must change as the model does.

        If the table fails, or the cache is outdated, it may change less. If a success changes nothing, it writes nothing.
        """
        instance, started_at, store = call.instance, self.clock.now(), call.instance.store
        outdated_writes, is_current = store.outdated_writes, self._is_current(call)
        has_no_failures = outcome is SUCCESS and instance.has_no_failures and self.model.has_no_failures
        is_added = is_current and (outcome, call.source) == (FAILURE, REQUEST)
        was_up_to_date = instance.is_connected and (is_added or facts(instance.known) == self.model.facts())
        reads, writes = len(store.reads), len(store.writes)
        self.loop.run(self._timed(call, self._reports(call, outcome)))
        if has_no_failures:
            self._note_event("nothing is wrong")
            assert len(store.writes) == writes
        if store.outdated_writes > outdated_writes:
            self._adopt_outdated_write()
            return
        could_ask = instance.is_connected and not self._has_spent_its_budget(call)
        is_certain = could_ask and (was_up_to_date or len(store.reads) > reads)
        outcomes = (
            self._models_after(call, outcome, started_at) if is_current else self._models_after_late_outcome(started_at)
        )
        self._continue_with(outcomes[:1] if is_certain else outcomes)

    async def _reports(self, call: Call, outcome: CallOutcome) -> None:
        assert call.permit is not None
        call.is_over = True
        await call.session.report_outcome(call.permit, outcome, cause="boom")

    def _models_after(self, call: Call, outcome: CallOutcome, started_at: datetime) -> list[Model]:
        """Returns the model after an outcome, then those after only a part of its writes, or none."""
        after = self.model.after_outcome(outcome, call.source, self.clock.now())
        self._adjust_due(after, started_at)
        if (outcome, self.breaker.state) == (REJECTION, BreakerState.OPEN):  # the rest depends on its cache
            after.failures = min(after.failures, self.breaker.failure_count)
            after.check_trust, after.counted_by = self.breaker.check_trust.value, self.breaker.failure_source
        halves = [copy(self.model) for _ in range(4)]
        if outcome is SUCCESS:
            halves[0].check_trust = halves[1].check_trust = after.check_trust
            halves[1].failures = halves[2].failures = 0
        elif outcome is FAILURE:
            halves[0].failures = halves[1].failures = self.model.failures + 1
            halves[0].counted_by, halves[1].counted_by = REQUEST, call.source
        return [after, *(self._opened(half, started_at) for half in halves), *halves]

    def _opened(self, counted: Model, started_at: datetime) -> Model:
        """Returns the model after any outcome opens it, if enough failures have been counted."""
        after = copy(counted).open_if_due(self.clock.now(), at=self.breaker_rules.failure_threshold)
        self._adjust_due(after, started_at)
        return after

    def _models_after_late_outcome(self, started_at: datetime) -> list[Model]:
        """Returns the models after a late outcome: it changes nothing, but it opens a breaker that is due to open."""
        self._note_event(f"a late result in {self.model.state}")
        return [self._opened(self.model, started_at), self.model]

    def _adjust_due(self, after: Model, started_at: datetime) -> None:
        """Allows that `due` was computed a moment before the write."""
        if after.due and (due := self.breaker.retry_at):
            earliest = started_at + timedelta(seconds=self.breaker_rules.timeout_secs)
            after.due = min(max(due, earliest), after.due)

    def _continue_with(self, outcomes: Sequence[Model]) -> None:
        found = facts(self.breaker)
        matching = [model for model in outcomes if model.facts() == found]
        assert matching, f"{found} is none of {[model.facts() for model in outcomes]}"
        if matching[0].state != self.model.state:
            self._note_event(f"{self.model.state} becomes {matching[0].state} {matching[0].check_trust}")
        self.model = matching[0]

    def _verify_failures(self, calls: Sequence[Call]) -> None:
        """No failure is lost: all reported ones have been counted, or the breaker has opened once."""
        failures = self.model.failures + len(calls)
        found = self.breaker
        if calls and failures >= self.breaker_rules.failure_threshold:
            self._note_event("failures at once open")
            assert (found.state, found.epoch) == (BreakerState.OPEN, self.model.epoch + 1)
            assert self.breaker_rules.failure_threshold <= found.failure_count <= failures
        else:
            assert (found.state, found.epoch) == (BreakerState(self.model.state), self.model.epoch)
            assert found.failure_count == failures
        self._adopt(found)

    def _adopt_outdated_write(self) -> None:
        """Accepts a write that was decided by an outdated cache.

        An instance with local changes counts its own epochs, which may accidentally equal those of the table.
        """
        if facts(self.breaker) != self.model.facts():
            self._note_event("a write of one that was outdated_writes")
            assert self.breaker.epoch >= self.model.epoch
            self._adopt(self.breaker)

    def _adopt(self, found: Breaker) -> None:
        """Accepts what the model cannot predict: the order of simultaneous writes, and delayed writes."""
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
            call.is_in_table |= call.permit is not None and call.permit.token == model.token is not None

    def _has_budget_for_two_writes(self, call: Call) -> bool:
        """Returns whether the time budget suffices for the two writes of a failure that opens, and the delay between them."""
        takes_s = call.instance.store.takes_s
        return takes_s < MIN_WAIT_S and self.waited_s[call.session] + takes_s <= BUDGET_S - MIN_WAIT_S

    async def _timed(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        started_s = self.clock.monotonic_s()
        try:
            return await work
        finally:
            self.waited_s[call.session] += self.clock.monotonic_s() - started_s

    async def _all(self, works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        return await asyncio.gather(*works)

    def _note_event(self, what: str) -> None:
        self.events.append(what)
        if currently_in_test_context():
            event(what)

    # Invariants.

    @invariant()
    def at_most_one_probe_is_running(self) -> None:
        """At most one with a lease in the table; and at most one local probe of an instance between two answers."""
        live = [call for call in self.calls if not call.is_over and call.until and self.clock.now() < call.until]
        assert sum(call.is_in_table for call in live) <= 1
        alone = Counter((call.instance, call.answers) for call in live if not call.is_in_table)
        assert max(alone.values(), default=0) <= 1

    @invariant()
    def each_instance_reads_the_table_at_most_once_a_second(self) -> None:
        """For any number of requests."""
        for instance in self.fleet:
            reads = instance.store.reads[-3:]
            answered = [read for read in instance.store.answered[-3:] if read in reads]
            assert all(later - earlier >= SNAPSHOT for earlier in answered for later in reads if later > earlier)

    @invariant()
    def no_request_waits_longer_than_250_ms_for_the_table(self) -> None:
        """All calls of one request together, even if the table hangs."""
        assert max(self.waited_s.values(), default=0) <= BUDGET_S + 1e-6

    @invariant()
    def every_breaker_can_be_closed(self) -> None:
        """After all leases and pauses have ended, enough successes close the breaker for a new instance."""
        clock, table = WaitingClock(), MemoryProviderStore()
        clock.advance((self.clock.now() - clock.now()).total_seconds() + 100)
        table._records = dict(self.table._records)
        if table._records:
            run(self._close(Breakers(table, [P], self.breaker_rules, clock)), clock)
            assert table._records[P].breaker.state is BreakerState.CLOSED

    def teardown(self) -> None:
        """The same for the existing instances, whatever is in their caches."""
        self.all_faults_end()
        for instance in self.fleet:
            self.clock.advance(100)
            self.loop.run(self._close(instance.breakers))
            assert self.breaker.state is BreakerState.CLOSED
            assert instance.known == self.breaker
        self.loop.close()

    async def _close(self, breakers: Breakers) -> None:
        for _ in range(self.breaker_rules.success_threshold):
            session = await breakers.session()
            permit = await session.request_permit(P, lasts_s=LASTS_S)
            assert isinstance(permit, Permit)
            await session.report_outcome(permit, SUCCESS)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=400, stateful_step_count=40)


NewFleet = Callable[..., Fleet]


@pytest.fixture
def new_fleet() -> Iterator[NewFleet]:
    """Returns a function that makes a fleet. The test controls it; every event is compared with the model."""
    machines = []

    def begin(failures: int = 5, successes: int = 2, timeout_s: float = 20.0) -> Fleet:
        machine = Fleet()
        machines.append(machine)
        machine.start(failures, successes, timeout_s)
        return machine

    yield begin
    for machine in machines:
        machine.teardown()


def test_failures_of_all_instances_open_and_probes_of_any_instance_close(new_fleet: NewFleet) -> None:
    machine = new_fleet()
    for number in (0, 1, 2, 0):
        machine.one_starts_and_ends(number, REQUEST, FAILURE)
    assert (machine.model.state, machine.model.failures) == ("closed", 4)
    machine.one_starts_and_ends(1, REQUEST, FAILURE)
    machine.time_passes(1.0)
    machine.one_starts(2, REQUEST)
    assert machine.waiting == []
    machine.the_pause_ends(0)
    machine.one_starts_and_ends(2, REQUEST, SUCCESS)
    machine.one_starts_and_ends(0, REQUEST, SUCCESS)
    assert machine.events == [
        "closed becomes open trusted",
        "a probe begins in open",
        "a probe begins in half_open",
        "half_open becomes closed trusted",
    ]


def test_one_of_all_simultaneous_requests_probes(new_fleet: NewFleet) -> None:
    machine = new_fleet()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_pause_ends(0)
    for instance in machine.fleet:
        instance.store.takes_s = 0.05
    machine.all_start_at_once(REQUEST)
    assert len(machine.waiting) == 1
    machine.one_ends(0, FAILURE)
    assert (machine.model.state, machine.model.failures) == ("open", 6)


def test_one_of_two_simultaneous_requests_of_one_instance_probes(new_fleet: NewFleet) -> None:
    machine = new_fleet()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_pause_ends(0)
    machine.fleet[0].store.takes_s = 0.1
    machine.two_of_one_instance_start_at_once(0, REQUEST)
    assert len(machine.waiting) == 1


def test_the_outcome_of_a_probe_whose_lease_expired_and_was_acquired_by_another_changes_nothing(
    new_fleet: NewFleet,
) -> None:
    machine = new_fleet()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_pause_ends(0)
    machine.one_starts(0, REQUEST)
    machine.the_pause_ends(-1)
    machine.one_starts(1, REQUEST)
    assert len(machine.waiting) == 1
    machine.time_passes(1.0)
    machine.one_starts(1, REQUEST)
    assert len(machine.waiting) == 2
    machine.one_ends(0, FAILURE)
    assert machine.model.state == "half_open"
    machine.one_ends(0, SUCCESS)
    assert machine.model.successes == 1
    assert machine.events[-2:] == ["a probe begins in half_open, whose prober died", "a late result in half_open"]


def test_an_outcome_from_before_the_breaker_opened_and_closed_again_does_not_count(new_fleet: NewFleet) -> None:
    machine = new_fleet(failures=1, successes=1)
    machine.all_start_at_once(REQUEST)
    machine.one_ends(0, FAILURE)
    machine.the_provider_recovers_for_one(0, REQUEST)
    machine.one_ends(0, FAILURE)
    machine.one_ends(0, REJECTION)
    assert (machine.model.state, machine.model.failures) == ("closed", 0)
    assert machine.events[-2:] == ["a late result in closed"] * 2


def test_simultaneous_failures_are_all_counted_and_open_once(new_fleet: NewFleet) -> None:
    machine = new_fleet(failures=3)
    for instance in machine.fleet:
        instance.store.takes_s = 0.02
    machine.all_start_at_once(REQUEST)
    machine.all_connected_requests_fail_at_once()
    assert (machine.model.state, machine.model.failures, machine.model.epoch) == ("open", 3, 1)


def test_with_distrusted_checks_a_request_must_close_the_breaker(new_fleet: NewFleet) -> None:
    machine = new_fleet(failures=2, successes=2)
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_provider_recovers_for_one(1, CHECK)
    assert (machine.model.state, machine.model.check_trust) == ("closed", "unconfirmed")
    machine.time_passes(1.0)
    machine.the_provider_fails_one(0, REQUEST)
    assert (machine.model.state, machine.model.check_trust) == ("open", "distrusted")
    machine.the_provider_recovers_for_one(1, CHECK)
    machine.the_provider_recovers_for_one(1, CHECK)
    assert (machine.model.state, machine.model.successes) == ("half_open", 1)
    machine.time_passes(1.0)
    machine.one_starts_and_ends(2, REQUEST, SUCCESS)
    assert (machine.model.state, machine.model.check_trust) == ("closed", "trusted")


def test_while_the_table_fails_each_instance_probes_on_its_own(new_fleet: NewFleet) -> None:
    machine = new_fleet()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_pause_ends(1)
    for instance in machine.fleet:
        machine.loop.run(instance.breakers.session())
        instance.store.fault = Fault.HANGS
    machine.all_start_at_once(REQUEST)
    machine.all_start_at_once(REQUEST)
    assert len(machine.waiting) == 3
    assert machine.events[-3:] == ["a probe without the table"] * 3
    machine.all_faults_end()
    machine.time_passes(5.0)
    machine.one_starts(0, REQUEST)
    assert machine.model.state == "half_open"


def test_a_lease_is_valid_although_the_answer_to_its_write_was_lost(new_fleet: NewFleet) -> None:
    machine = new_fleet(successes=1)
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_pause_ends(0)
    machine.loop.run(machine.fleet[0].breakers.session())
    machine.the_table_fails_one(0, Fault.ANSWER_LOST)
    machine.one_starts(0, REQUEST)
    machine.all_faults_end()
    machine.time_passes(5.0)
    machine.one_ends(0, SUCCESS)
    assert machine.model.state == "closed"


def test_a_failure_counts_although_the_answer_to_its_write_was_lost(new_fleet: NewFleet) -> None:
    machine = new_fleet(failures=2)
    machine.one_starts_and_ends(1, REQUEST, FAILURE)
    machine.one_starts(0, REQUEST)
    machine.the_table_fails_one(0, Fault.ANSWER_LOST)
    machine.one_ends(0, FAILURE)
    assert (machine.model.state, machine.model.failures) == ("closed", 2)
    machine.one_starts_and_ends(1, REQUEST, FAILURE)
    assert machine.model.state == "open"


def test_a_write_that_arrives_late_changes_nothing(new_fleet: NewFleet) -> None:
    machine = new_fleet()
    machine.the_provider_fails_one(0, REQUEST)
    machine.the_pause_ends(0)
    for instance in machine.fleet:
        machine.loop.run(instance.breakers.session())
    machine.the_table_fails_one(0, Fault.DELAYED)
    machine.one_starts(0, REQUEST)
    machine.all_faults_end()
    machine.one_starts(1, REQUEST)
    before = machine.breaker
    machine.delayed_writes_arrive(0)
    assert machine.breaker == before
    assert len(machine.waiting) == 2
