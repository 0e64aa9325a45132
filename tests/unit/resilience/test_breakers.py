"""The breakers as one instance sees them: when it reads and writes, what it does without the table, what it tells."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import StringIO
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome
from sekha_llm_bridge.resilience import (
    Availability,
    Breaker,
    Breakers,
    BreakerSession,
    BreakerState,
    BreakerView,
    CheckResult,
    Permit,
    PermitSource,
    ProviderRecord,
    ProviderStore,
    Refusal,
)
from sekha_llm_bridge.resilience.breaker import CheckTrust, Lease
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.resilience.store import WriteResult
from tests.fakes.clock import FakeClock
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.virtual_time import run
from tests.fakes.waiting_clock import WaitingClock

T = TypeVar("T")
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
REQUEST, CHECK = PermitSource.REQUEST, PermitSource.CHECK
SUCCESS, FAILURE, REJECTION, NEUTRAL = (
    CallOutcome.SUCCESS,
    CallOutcome.FAILURE,
    CallOutcome.REJECTION,
    CallOutcome.NEUTRAL,
)
EVERY_FAULT = [fault for fault in Fault if fault is not Fault.NONE]


@dataclass
class Instance:
    """One of a fleet, led by hand."""

    breakers: Breakers
    store: FaultyStore
    clock: FakeClock

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return run(work, self.clock)

    def session(self) -> BreakerSession:
        return self.run(self.breakers.session())

    def request_permit(self, provider_id: str = "p", *, source: PermitSource = REQUEST) -> Permit | Refusal:
        return self.run(self.session().request_permit(provider_id, lasts_s=10, source=source))

    def call(self, *verdicts: CallOutcome, provider_id: str = "p", source: PermitSource = REQUEST) -> None:
        """One call after the other, each with leave and with that result."""
        for outcome in verdicts:
            watch = self.session()
            permit = self.run(watch.request_permit(provider_id, lasts_s=10, source=source))
            assert isinstance(permit, Permit), f"refused before {outcome}"
            self.run(watch.report_outcome(permit, outcome, cause="boom"))

    def known(self, provider_id: str = "p") -> Breaker:
        return self.breakers.records.get(provider_id, ProviderRecord()).breaker


@dataclass
class Fleet:
    """Instances that share a table: five failures open, after a minute two successes close."""

    clock: FakeClock
    table: MemoryProviderStore = field(default_factory=MemoryProviderStore)
    rules: CircuitBreakerConfig = field(default_factory=CircuitBreakerConfig)
    tokens: int = 0

    def instance(self, table: ProviderStore | None = None) -> Instance:
        store = FaultyStore(table or self.table, self.clock)
        breakers = Breakers(store, ["p", "q"], self.rules, self.clock, new_token=self._token)
        return Instance(breakers, store, self.clock)

    def _token(self) -> str:
        self.tokens += 1
        return f"token {self.tokens}"

    def record(self, provider_id: str = "p") -> ProviderRecord:
        """What is in the table."""
        return run(self.table.read([provider_id]), self.clock).get(provider_id, ProviderRecord())

    def breaker(self) -> Breaker:
        return self.record().breaker

    def open(self) -> None:
        """By somebody else's five failures, just now."""
        self.instance().call(*[FAILURE] * 5)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(WaitingClock())


def metrics(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was counted since the last look, in its order."""
    lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    return [json.loads(line) for line in lines]


def names(counted: list[dict[str, Any]]) -> list[str]:
    return [line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] for line in counted]


# Reading.


@pytest.mark.parametrize(("later_s", "reads"), [(0, 1), (0.999999, 1), (1, 2), (3600, 2)])
def test_the_table_is_read_at_most_once_a_second(fleet: Fleet, later_s: float, reads: int) -> None:
    one = fleet.instance()
    one.session()
    fleet.clock.advance(later_s)
    one.session()
    assert len(one.store.reads) == reads


def test_an_environment_that_was_frozen_reads_anew_though_its_own_time_stood_still(fleet: Fleet) -> None:
    one = fleet.instance()
    one.session()
    fleet.clock.freeze(1)
    one.session()
    assert len(one.store.reads) == 2


def test_a_clock_that_was_set_back_does_not_make_a_snapshot_last_longer(fleet: Fleet) -> None:
    one = fleet.instance()
    one.session()
    fleet.clock.freeze(-3600)
    one.session()
    assert len(one.store.reads) == 2


def test_a_snapshot_is_as_old_as_the_beginning_of_its_read(fleet: Fleet) -> None:
    one = fleet.instance()
    one.store.takes_s = 0.2
    one.session()
    fleet.clock.advance(0.8)
    one.session()
    assert len(one.store.reads) == 2


def test_one_read_is_of_all_providers(fleet: Fleet) -> None:
    other = fleet.instance()
    for provider_id in ("p", "q"):
        other.call(REJECTION, provider_id=provider_id)
    one = fleet.instance()
    assert one.session().views().keys() == {"p", "q"}
    assert len(one.store.reads) == 1


def test_requests_at_the_same_time_share_one_read(fleet: Fleet) -> None:
    fleet.open()
    one = fleet.instance()
    one.store.takes_s = 0.1

    async def both() -> tuple[BreakerSession, BreakerSession]:
        return await asyncio.gather(one.breakers.session(), one.breakers.session())

    assert [watch.views().keys() for watch in one.run(both())] == [{"p"}, {"p"}]
    assert len(one.store.reads) == 1


def test_health_is_told_the_newest_however_lately_the_table_was_read(fleet: Fleet) -> None:
    one = fleet.instance()
    one.session()
    fleet.open()
    assert one.run(one.breakers.read_now())["p"].breaker.state is OPEN
    assert one.session().views().keys() == {"p"}
    assert len(one.store.reads) == 2


def test_health_is_told_what_was_last_known_when_the_table_is_out(fleet: Fleet) -> None:
    fleet.open()
    one = fleet.instance()
    one.session()
    one.store.fault = Fault.HANGS
    began_s = fleet.clock.monotonic_s()
    assert one.run(one.breakers.read_now())["p"].breaker.state is OPEN
    assert one.breakers.is_table_unavailable
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(0.25)


def test_a_success_where_nothing_is_wrong_writes_nothing(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(*[SUCCESS] * 20)
    one.call(*[SUCCESS] * 20, source=CHECK)
    assert (len(one.store.reads), one.store.writes) == (1, [])


def test_what_says_nothing_of_a_closed_breaker_writes_nothing(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(*[NEUTRAL] * 20)
    assert one.store.writes == []


def test_a_success_that_took_long_looks_again_and_resets_what_others_have_counted_meanwhile(fleet: Fleet) -> None:
    one = fleet.instance()
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.instance().call(*[FAILURE] * 4)
    fleet.clock.advance(1)
    one.run(watch.report_outcome(permit, SUCCESS))
    assert fleet.breaker().failure_count == 0
    fleet.instance().call(FAILURE)
    assert fleet.breaker().state is CLOSED


def test_whoever_asks_late_looks_again(fleet: Fleet) -> None:
    """A second candidate is asked for when the first has failed, which may be long after the plan was made."""
    one = fleet.instance()
    watch = one.session()
    fleet.open()
    fleet.clock.advance(20)
    assert one.run(watch.request_permit("p", lasts_s=10)) == Refusal(OPEN, 40, "boom")


def test_whoever_asks_within_the_second_does_not_look_again(fleet: Fleet) -> None:
    one = fleet.instance()
    watch = one.session()
    fleet.clock.advance(0.999999)
    one.run(watch.request_permit("p", lasts_s=10))
    assert len(one.store.reads) == 1


def test_a_success_within_the_second_does_not_look_again(fleet: Fleet) -> None:
    one = fleet.instance()
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.clock.advance(0.999999)
    one.run(watch.report_outcome(permit, SUCCESS))
    assert len(one.store.reads) == 1


@pytest.mark.parametrize("outcome", [FAILURE, REJECTION, NEUTRAL])
def test_what_is_no_success_need_not_look_again(fleet: Fleet, outcome: CallOutcome) -> None:
    one = fleet.instance()
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.clock.advance(1)
    one.run(watch.report_outcome(permit, outcome))
    assert len(one.store.reads) == 1


# What the planner sees.


@pytest.mark.parametrize(("after_s", "left_s"), [(0, 60), (59, 1)])
def test_an_open_breaker_shuts_its_provider_out_until_its_probe_is_due(
    fleet: Fleet, after_s: float, left_s: float
) -> None:
    fleet.open()
    fleet.clock.advance(after_s)
    view = BreakerView(OPEN, Availability.BLOCKED, left_s, "boom")
    assert fleet.instance().session().views() == {"p": view}


def test_who_probes_shuts_the_others_out_until_its_lease_is_over(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    fleet.instance().request_permit()
    other = fleet.instance()
    assert other.session().views() == {"p": BreakerView(HALF_OPEN, Availability.BLOCKED, 12, "boom")}
    fleet.clock.advance(12)
    assert other.session().views() == {"p": BreakerView(HALF_OPEN, Availability.PROBE_DUE, 0, "boom")}


def test_a_closed_breaker_is_not_seen(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(FAILURE)
    assert one.session().views() == {}


CHECKED = CheckResult("p", False, None, FakeClock().now(), "connect_failed")  # noqa: FBT003 — it is not healthy


@pytest.mark.parametrize(
    ("check", "age_s", "check_trust", "availability"),
    [
        (None, 0, CheckTrust.TRUSTED, Availability.PROBE_DUE),
        (CHECKED, 0, CheckTrust.TRUSTED, Availability.LAST_RESORT),
        (CHECKED, 149.999999, CheckTrust.TRUSTED, Availability.LAST_RESORT),
        (CHECKED, 150, CheckTrust.TRUSTED, Availability.PROBE_DUE),
        (CHECKED, 0, CheckTrust.DISTRUSTED, Availability.PROBE_DUE),
        (replace(CHECKED, is_healthy=True), 0, CheckTrust.TRUSTED, Availability.LAST_RESORT),
        (replace(CHECKED, is_conclusive=False), 0, CheckTrust.TRUSTED, Availability.PROBE_DUE),
    ],
)
@pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
def test_a_probe_that_is_due_is_left_to_the_checks_as_long_as_they_look_after_it(
    check: CheckResult | None, age_s: float, check_trust: CheckTrust, availability: Availability, state: BreakerState
) -> None:
    now = CHECKED.checked_at + timedelta(seconds=age_s)
    lease = None if state is OPEN else Lease("dead", now)
    breaker = Breaker(state, 7, retry_at=now, lease=lease, cause="boom", check_trust=check_trust)
    assert ProviderRecord(check, breaker).view(now) == BreakerView(state, availability, 0.0, "boom")


def test_a_check_that_is_too_old_says_nothing() -> None:
    record = ProviderRecord(CHECKED)
    assert record.fresh_check(CHECKED.checked_at + timedelta(seconds=149.999999)) == CHECKED
    assert record.fresh_check(CHECKED.checked_at + timedelta(seconds=150)) is None
    assert ProviderRecord().fresh_check(CHECKED.checked_at) is None


def test_a_recorded_check_is_seen_by_all_and_leaves_the_breaker_as_it_is(fleet: Fleet) -> None:
    fleet.open()
    one, before = fleet.instance(), fleet.breaker()
    one.run(one.session().record_check(CHECKED))
    assert one.breakers.records["p"] == ProviderRecord(CHECKED, before)
    assert fleet.record() == ProviderRecord(CHECKED, before)


def test_what_becomes_of_the_breaker_leaves_the_check_as_it_is(fleet: Fleet) -> None:
    one = fleet.instance()
    one.run(one.session().record_check(CHECKED))
    one.call(*[FAILURE] * 5)
    assert (fleet.record().check, fleet.breaker().state) == (CHECKED, OPEN)
    assert one.breakers.records["p"].check == CHECKED


# Leave, and leases.


def test_a_request_and_a_check_have_each_a_permit_that_says_so(fleet: Fleet) -> None:
    one = fleet.instance()
    assert [one.request_permit("q", source=source) for source in PermitSource] == [
        Permit("q", REQUEST, 0),
        Permit("q", CHECK, 0),
    ]


def test_a_probes_lease_lasts_as_long_as_its_call_may_and_two_seconds_more(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    permit = fleet.instance().request_permit()
    assert isinstance(permit, Permit)
    assert permit == Permit("p", REQUEST, 2, f"token {fleet.tokens}")
    assert fleet.breaker().lease == Lease(f"token {fleet.tokens}", fleet.clock.now() + timedelta(seconds=12))


def test_who_has_no_leave_is_told_when_to_come_again_and_why_and_asks_nothing_of_the_table(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(20)
    one = fleet.instance()
    assert one.request_permit() == Refusal(OPEN, 40, "boom")
    assert one.store.writes == []


def test_each_provider_has_a_breaker_of_its_own(fleet: Fleet) -> None:
    fleet.open()
    assert isinstance(fleet.instance().request_permit("q"), Permit)
    assert fleet.record("q") == ProviderRecord()


def test_no_two_leases_have_the_same_token(fleet: Fleet) -> None:
    tokens = set()
    for _ in range(20):
        breakers = Breakers(fleet.table, ["p"], fleet.rules, fleet.clock)
        fleet.table._records["p"] = ProviderRecord(None, Breaker(OPEN, 1, retry_at=fleet.clock.now()))
        permit = run(run(breakers.session(), fleet.clock).request_permit("p", lasts_s=10), fleet.clock)
        assert isinstance(permit, Permit)
        tokens.add(permit.token)
    assert len(tokens) == 20


# Races.


def test_who_loses_the_race_for_a_lease_waits_for_the_winner(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    winner, loser = fleet.instance(), fleet.instance()
    late = loser.session()
    assert isinstance(winner.request_permit(), Permit)
    fleet.clock.advance(0.5)
    assert loser.run(late.request_permit("p", lasts_s=10)) == Refusal(HALF_OPEN, 11.5, "boom")
    assert loser.known() == fleet.breaker()
    assert loser.store.writes == ["replace"]


def test_who_loses_the_race_for_a_lease_to_one_that_closed_goes_through(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    winner, loser = fleet.instance(), fleet.instance()
    late = loser.session()
    winner.call(SUCCESS, SUCCESS)
    assert loser.run(late.request_permit("p", lasts_s=10)) == Permit("p", REQUEST, 5, None)


def test_a_success_that_comes_upon_another_count_resets_that_one(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    other.call(FAILURE, FAILURE)
    late = one.session()
    other.call(SUCCESS, FAILURE)
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    one.run(late.report_outcome(permit, SUCCESS))
    assert fleet.breaker().failure_count == 0
    assert one.store.writes == ["replace", "replace"]


def test_a_success_that_comes_upon_no_count_leaves_it_at_that(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    other.call(FAILURE, FAILURE)
    late = one.session()
    other.call(SUCCESS)
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    before = fleet.breaker()
    one.run(late.report_outcome(permit, SUCCESS))
    assert (fleet.breaker(), one.store.writes) == (before, ["replace"])


def test_a_reset_takes_newer_failures_along_and_leaves_when_the_last_one_was(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    other.call(FAILURE)
    late = one.session()
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    fleet.clock.advance(0.5)
    other.call(FAILURE)
    one.run(late.report_outcome(permit, SUCCESS))
    assert (fleet.breaker().failure_count, fleet.breaker().last_failure) == (0, fleet.clock.now())


def test_a_failure_that_comes_upon_an_open_breaker_is_not_counted(fleet: Fleet) -> None:
    one = fleet.instance()
    late = one.session()
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    fleet.open()
    before = fleet.breaker()
    one.run(late.report_outcome(permit, FAILURE))
    assert (fleet.breaker(), one.known()) == (before, before)


def test_failures_are_added_to_what_others_have_counted_since(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    late = one.session()
    other.call(FAILURE, FAILURE, source=CHECK)
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    one.run(late.report_outcome(permit, FAILURE, cause="newer"))
    breaker = fleet.breaker()
    assert (breaker.failure_count, breaker.cause, breaker.failure_source) == (3, "newer", REQUEST)


def test_a_success_that_arrives_while_the_fifth_failure_looks_again_keeps_the_breaker_closed(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    fleet.instance().call(*[FAILURE] * 4)
    watches = [instance.session() for instance in (one, other)]
    permits = [one.run(watch.request_permit("p", lasts_s=10)) for watch in watches]
    assert isinstance(permits[0], Permit)
    assert isinstance(permits[1], Permit)
    other.store.takes_s = 0.09  # it arrives after the failure was counted
    failed, succeeded = watches[0].report_outcome(permits[0], FAILURE), watches[1].report_outcome(permits[1], SUCCESS)

    async def both() -> None:
        await asyncio.gather(failed, succeeded)

    one.run(both())
    assert (fleet.breaker().state, fleet.breaker().failure_count) == (CLOSED, 0)


@pytest.mark.parametrize(("failures", "looks_for_s"), [(4, 0), (5, 0.1)])
def test_only_a_failure_that_would_open_the_breaker_waits_to_look_again(
    fleet: Fleet, failures: int, looks_for_s: float
) -> None:
    one = fleet.instance()
    one.call(*[FAILURE] * (failures - 1))
    began_s = fleet.clock.monotonic_s()
    one.call(FAILURE)
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(looks_for_s)


def test_five_failures_at_once_open_once(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    instances = [fleet.instance() for _ in range(5)]
    watches = [instance.session() for instance in instances]
    permits = [fleet.instance().run(watch.request_permit("p", lasts_s=10)) for watch in watches]

    async def all_fail() -> None:
        reports = [
            watch.report_outcome(permit, FAILURE, cause="boom")
            for watch, permit in zip(watches, permits, strict=True)
            if isinstance(permit, Permit)
        ]
        await asyncio.gather(*reports)

    fleet.instance().run(all_fail())
    assert (fleet.breaker().state, fleet.breaker().epoch, fleet.breaker().failure_count) == (OPEN, 1, 5)
    assert names(metrics(capsys)) == ["BreakerOpened"]


class Contested(MemoryProviderStore):
    """A table in which somebody else is always faster."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        self.attempts += 1
        now = self._records[provider_id].breaker
        self._records[provider_id] = ProviderRecord(None, replace(now, epoch=now.epoch + 1))
        return await super().replace(provider_id, before, after)


def test_who_loses_four_races_gives_up_for_now(fleet: Fleet) -> None:
    table = Contested()
    table._records["p"] = ProviderRecord(None, Breaker(OPEN, 1, retry_at=fleet.clock.now(), cause="boom"))
    assert fleet.instance(table).request_permit() == Refusal(OPEN, 0.0, "boom")
    assert table.attempts == 4


def test_of_two_requests_of_one_instance_that_ask_at_once_one_has_the_lease(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    one = fleet.instance()
    watch, one.store.takes_s = one.session(), 0.02

    async def both() -> tuple[Permit | Refusal, Permit | Refusal]:
        return await asyncio.gather(watch.request_permit("p", lasts_s=10), watch.request_permit("p", lasts_s=10))

    assert [type(outcome) for outcome in one.run(both())] == [Permit, Refusal]


# A read that takes its time.


async def read_while(one: Instance, work: Coroutine[Any, Any, None]) -> None:
    """The table has answered a read, and meanwhile something is done at once; then the answer arrives."""
    one.store.takes_s = 0.2
    reading = asyncio.ensure_future(one.breakers.session())
    await asyncio.sleep(0.15)
    one.store.takes_s = 0
    await work
    await reading


def test_a_read_under_way_does_not_overwrite_what_was_written_meanwhile(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(FAILURE, provider_id="q")
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    fleet.instance().call(REJECTION, provider_id="q")
    fleet.clock.advance(1)
    one.run(read_while(one, watch.report_outcome(permit, REJECTION)))
    assert one.known() == fleet.breaker()
    assert (one.known("p").state, one.known("q").state) == (OPEN, OPEN)


def test_a_read_under_way_does_not_overwrite_a_check_that_was_recorded_meanwhile(fleet: Fleet) -> None:
    one = fleet.instance()
    watch = one.session()
    fleet.clock.advance(1)
    one.run(read_while(one, watch.record_check(CHECKED)))
    assert one.breakers.records["p"].check == CHECKED


def test_the_next_read_overwrites_what_was_written_before_it(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    one.call(FAILURE)
    other.call(REJECTION)
    fleet.clock.advance(1)
    one.session()
    assert one.known() == fleet.breaker()


def test_a_record_that_is_no_longer_in_the_table_is_forgotten(fleet: Fleet) -> None:
    fleet.open()
    one = fleet.instance()
    one.session()
    fleet.table._records.clear()
    fleet.clock.advance(1)
    assert one.session().views() == {}
    assert one.breakers.records == {}


# A table in memory.


@pytest.mark.parametrize(
    ("before", "is_written"),
    [
        (Breaker(HALF_OPEN, 7, 5, lease=Lease("mine", FakeClock().now())), True),
        (Breaker(HALF_OPEN, 7, 4, lease=Lease("mine", FakeClock().now())), True),
        (Breaker(HALF_OPEN, 7, 6, lease=Lease("mine", FakeClock().now())), False),
        (Breaker(HALF_OPEN, 6, 5, lease=Lease("mine", FakeClock().now())), False),
        (Breaker(HALF_OPEN, 8, 5, lease=Lease("mine", FakeClock().now())), False),
        (Breaker(HALF_OPEN, 7, 5, lease=Lease("other", FakeClock().now())), False),
        (Breaker(HALF_OPEN, 7, 5, lease=None), False),
    ],
)
def test_a_change_is_written_where_epoch_and_lease_are_as_they_were_and_no_failure_was_taken_back(
    fleet: Fleet,
    before: Breaker,
    is_written: bool,  # noqa: FBT001 — it is what is expected
) -> None:
    breaker = Breaker(HALF_OPEN, 7, 5, lease=Lease("mine", fleet.clock.now()))
    fleet.table._records["p"] = ProviderRecord(CHECKED, breaker)
    written = run(fleet.table.replace("p", before, replace(before, success_count=3)), fleet.clock)
    expected = replace(breaker, success_count=3) if is_written else breaker
    assert written == WriteResult(is_written=is_written, breaker=expected)
    assert fleet.record() == ProviderRecord(CHECKED, expected)


@pytest.mark.parametrize(("epoch", "is_counted"), [(6, False), (7, True), (8, False)])
def test_a_failure_is_counted_in_the_epoch_of_its_call(
    fleet: Fleet,
    epoch: int,
    is_counted: bool,  # noqa: FBT001 — it is what is expected
) -> None:
    fleet.table._records["p"] = ProviderRecord(CHECKED, Breaker(CLOSED, 7, 3))
    after = Breaker(CLOSED, epoch, 1, last_failure=fleet.clock.now(), cause="boom", failure_source=CHECK)
    written = run(fleet.table.add_failure("p", Breaker(CLOSED, epoch), after), fleet.clock)
    expected = replace(after, failure_count=4) if is_counted else Breaker(CLOSED, 7, 3)
    assert written == WriteResult(is_written=is_counted, breaker=expected)
    assert fleet.record() == ProviderRecord(CHECKED, expected)


# A table that does not answer.


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_requests_go_on_by_what_was_last_known(fleet: Fleet, fault: Fault) -> None:
    fleet.open()
    one = fleet.instance()
    one.session()
    one.store.fault = fault
    fleet.clock.advance(1)
    assert isinstance(one.request_permit("q"), Permit)
    refused = one.request_permit("p")
    assert isinstance(refused, Refusal)
    assert (refused.state, refused.cause) == (OPEN, "boom")
    assert refused.retry_after_s == pytest.approx(59, abs=0.3)
    assert one.session().views().keys() == {"p"}


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_an_instance_that_never_reached_the_table_takes_every_breaker_for_closed(fleet: Fleet, fault: Fault) -> None:
    fleet.open()
    one = fleet.instance()
    one.store.fault = fault
    assert isinstance(one.request_permit(), Permit)


def test_a_table_that_hangs_is_waited_for_a_quarter_of_a_second_and_then_not_asked_for_five(fleet: Fleet) -> None:
    one = fleet.instance()
    one.store.fault = Fault.HANGS
    began_s = fleet.clock.monotonic_s()
    one.session()
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(0.25)
    fleet.clock.advance(4.999)
    one.call(SUCCESS, FAILURE)
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(5.249)
    assert (len(one.store.reads), one.store.writes) == (1, [])
    fleet.clock.advance(0.001)
    one.session()
    assert len(one.store.reads) == 2


def test_all_questions_of_a_request_wait_a_quarter_of_a_second_together(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    one = fleet.instance()
    one.store.takes_s = 0.1
    began_s = fleet.clock.monotonic_s()
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(0.2)
    one.run(
        watch.report_outcome(permit, SUCCESS)
    )  # with so little left it is not asked any more, which is not its fault
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(0.2)
    assert not one.breakers.is_table_unavailable


def test_the_call_itself_costs_a_request_none_of_its_patience(fleet: Fleet) -> None:
    one = fleet.instance()
    one.store.takes_s = 0.1
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.clock.advance(30)
    one.run(watch.report_outcome(permit, FAILURE))
    assert fleet.breaker().failure_count == 1


def test_the_next_request_has_its_patience_anew(fleet: Fleet) -> None:
    one = fleet.instance()
    one.store.takes_s = 0.12
    for _ in range(3):
        fleet.clock.advance(1)
        one.call(FAILURE)
    assert fleet.breaker().failure_count == 3
    assert not one.breakers.is_table_unavailable


def test_whoever_can_wait_longer_says_so(fleet: Fleet) -> None:
    fleet.open()
    one = fleet.instance()
    one.store.takes_s = 1.9
    assert one.run(one.breakers.session(patience_s=2)).views().keys() == {"p"}


@pytest.mark.parametrize("fault", EVERY_FAULT)
@pytest.mark.parametrize("question", ["read", "lease", "failure", "reset", "check"])
def test_every_question_without_an_answer_is_a_warning_and_a_metric_once_in_five_seconds(
    fleet: Fleet, fault: Fault, question: str, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    one = fleet.instance()
    if question == "lease":
        fleet.open()
        fleet.clock.advance(60)
    if question == "reset":
        fleet.instance().call(FAILURE)
    watch = one.session()
    one.store.fault, _ = fault, capsys.readouterr()
    if question == "read":
        fleet.clock.advance(1)
        one.session()
    elif question == "check":
        one.run(watch.record_check(CHECKED))
    else:
        one.call(FAILURE if question == "failure" else SUCCESS)
    assert one.breakers.is_table_unavailable
    one.call(SUCCESS, SUCCESS)
    one.run(one.session().record_check(CHECKED))
    assert names(metrics(capsys)).count("BreakerTableUnavailable") == 1
    warnings = [json.loads(line) for line in log.getvalue().splitlines() if "state table unavailable" in line]
    reasons = {
        Fault.REFUSED: "refused",
        Fault.ANSWER_LOST: "the answer was lost",
        Fault.DELAYED: "delayed",
        Fault.HANGS: "no answer in time",
        Fault.ANSWER_HANGS: "no answer in time",
    }
    assert [(line["level"], line["reason"]) for line in warnings] == [("WARNING", reasons[fault])]
    fleet.clock.advance(5)
    one.session()
    assert names(metrics(capsys)) == ["BreakerTableUnavailable"]


@pytest.mark.parametrize(("after_s", "is_table_unavailable"), [(0, True), (4.999999, True), (5, False)])
def test_an_instance_says_for_five_seconds_that_the_table_did_not_answer(
    fleet: Fleet,
    after_s: float,
    is_table_unavailable: bool,  # noqa: FBT001 — it is what is expected
) -> None:
    one = fleet.instance()
    one.store.fault = Fault.REFUSED
    one.session()
    fleet.clock.advance(after_s)
    assert one.breakers.is_table_unavailable == is_table_unavailable


def test_an_instance_that_has_not_asked_the_table_is_not_cut_off(fleet: Fleet) -> None:
    assert not fleet.instance().breakers.is_table_unavailable


@pytest.fixture
def lonely(fleet: Fleet) -> Instance:
    """One that cannot reach the table, and does not soon."""
    one = fleet.instance()
    one.store.fault = Fault.REFUSED
    one.session()
    return one


def test_without_the_table_an_instance_opens_by_its_own_failures(fleet: Fleet, lonely: Instance) -> None:
    lonely.call(*[FAILURE] * 4)
    assert lonely.known().state is CLOSED
    lonely.call(FAILURE)
    assert lonely.request_permit() == Refusal(OPEN, 60, "boom")
    assert fleet.breaker() == Breaker()


def test_without_the_table_it_counts_on_from_what_it_knew(fleet: Fleet) -> None:
    fleet.instance().call(*[FAILURE] * 3)
    one = fleet.instance()
    one.session()
    one.store.fault = Fault.REFUSED
    one.call(FAILURE, FAILURE)
    assert one.known().state is OPEN


def test_without_the_table_it_probes_once_at_a_time_and_closes(fleet: Fleet, lonely: Instance) -> None:
    lonely.call(*[FAILURE] * 5)
    fleet.clock.advance(60)
    assert isinstance(lonely.request_permit(), Permit)
    assert lonely.request_permit() == Refusal(HALF_OPEN, 12, "boom")
    fleet.clock.advance(12)
    lonely.call(SUCCESS, SUCCESS)
    assert lonely.known().state is CLOSED
    assert fleet.breaker() == Breaker()


def test_without_the_table_a_success_resets_what_it_counted(lonely: Instance) -> None:
    lonely.call(*[FAILURE] * 4, SUCCESS, *[FAILURE] * 4)
    assert lonely.known().state is CLOSED


def test_once_the_table_answers_its_word_is_taken_again(fleet: Fleet, lonely: Instance) -> None:
    lonely.call(REJECTION)
    fleet.instance().call(FAILURE)
    lonely.store.fault = Fault.NONE
    fleet.clock.advance(5)
    assert lonely.session().views() == {}
    assert lonely.known() == fleet.breaker()
    lonely.call(FAILURE)
    assert fleet.breaker().failure_count == 2


def test_what_only_an_instance_of_its_own_knows_is_forgotten_when_the_table_answers(
    fleet: Fleet, lonely: Instance
) -> None:
    lonely.call(REJECTION)
    lonely.store.fault = Fault.NONE
    fleet.clock.advance(5)
    assert isinstance(lonely.request_permit(), Permit)
    assert lonely.known() == Breaker()


def alone_in_the_same_epoch(fleet: Fleet) -> tuple[Instance, BreakerSession, Permit]:
    """One that opened a breaker of its own, was given leave, and hears again of the table, where as much has happened."""
    fleet.rules = CircuitBreakerConfig(failure_threshold=1, timeout_secs=10)
    one, other = fleet.instance(), fleet.instance()
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=30))
    assert isinstance(permit, Permit)
    one.store.fault = Fault.REFUSED
    one.call(FAILURE)
    one.store.fault = Fault.NONE
    fleet.clock.advance(9)
    other.call(FAILURE)
    fleet.clock.advance(2)
    assert (one.known().state, one.known().epoch) == (fleet.breaker().state, fleet.breaker().epoch) == (OPEN, 1)
    assert one.known().retry_at != fleet.breaker().retry_at
    return one, watch, permit


def test_a_probe_that_only_a_breaker_of_its_own_makes_due_is_refused_when_the_table_answers(fleet: Fleet) -> None:
    one, watch, _ = alone_in_the_same_epoch(fleet)
    before = fleet.breaker()
    assert isinstance(one.run(watch.request_permit("p", lasts_s=10)), Refusal)
    assert fleet.breaker() == before


@pytest.mark.parametrize("outcome", CallOutcome)
def test_what_began_before_it_was_alone_is_late_when_the_table_answers(fleet: Fleet, outcome: CallOutcome) -> None:
    one, watch, permit = alone_in_the_same_epoch(fleet)
    before = fleet.breaker()
    one.run(watch.report_outcome(permit, outcome))
    assert fleet.breaker() == one.known() == before


def test_whoever_was_alone_looks_again_whatever_it_reports(fleet: Fleet, lonely: Instance) -> None:
    watch = lonely.session()
    permit = lonely.run(watch.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    lonely.call(*[FAILURE] * 5)
    lonely.store.fault = Fault.NONE
    fleet.clock.advance(5)
    lonely.run(watch.report_outcome(permit, FAILURE))
    assert (fleet.breaker().failure_count, lonely.known()) == (1, fleet.breaker())


def test_what_a_probe_of_its_own_found_is_no_news_to_the_table(fleet: Fleet, lonely: Instance) -> None:
    fleet.open()
    lonely.call(*[FAILURE] * 5)
    fleet.clock.advance(59)
    lonely.session()
    fleet.clock.advance(1)
    watch = lonely.session()
    permit = lonely.run(watch.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    assert isinstance(fleet.instance().request_permit(), Permit)
    lonely.store.fault, before = Fault.NONE, fleet.breaker()
    fleet.clock.advance(5)
    for outcome in (SUCCESS, FAILURE):
        lonely.run(watch.report_outcome(permit, outcome))
        assert fleet.breaker() == lonely.known() == before


def test_a_check_that_the_table_did_not_take_is_known_here(lonely: Instance) -> None:
    lonely.run(lonely.session().record_check(CHECKED))
    assert lonely.breakers.records["p"].check == CHECKED


# What it tells.


def test_that_a_breaker_opened_is_logged_and_counted_once_in_the_fleet(
    fleet: Fleet, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = fleet.instance(), fleet.instance()
    late = other.session()
    permit = other.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    one.call(*[FAILURE] * 4)
    assert (metrics(capsys), log.getvalue()) == ([], "")
    one.call(FAILURE)
    other.run(late.report_outcome(permit, FAILURE, cause="late"))
    counted = metrics(capsys)
    assert names(counted) == ["BreakerOpened"]
    assert (counted[0]["provider"], counted[0]["cause"]) == ("p", "boom")
    line = json.loads(log.getvalue())
    told = (line["level"], line["message"], line["provider"], line["cause"], line["failures"], line["was"])
    assert told == ("WARNING", "circuit breaker opened", "p", "boom", 5, "closed")


def test_a_rejection_is_told_with_its_own_cause_after_failures_of_another(
    fleet: Fleet, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    one = fleet.instance()
    one.call(FAILURE)
    watch = one.session()
    permit = one.run(watch.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    one.run(watch.report_outcome(permit, REJECTION, cause="invalid_api_key"))
    assert metrics(capsys)[0]["cause"] == "invalid_api_key"
    line = json.loads(log.getvalue())
    assert (line["cause"], line["failures"]) == ("invalid_api_key", 2)


def test_each_probe_is_counted_and_so_is_what_it_leads_to(
    fleet: Fleet, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.open()
    capsys.readouterr()
    steps = [
        (NEUTRAL, ["BreakerProbes"]),
        (SUCCESS, ["BreakerProbes"]),
        (FAILURE, ["BreakerProbes", "BreakerOpened"]),
        (SUCCESS, ["BreakerProbes"]),
        (SUCCESS, ["BreakerProbes", "BreakerClosed"]),
        (SUCCESS, []),
    ]
    for outcome, expected in steps:
        fleet.clock.advance(60)
        fleet.instance().call(outcome)
        counted = metrics(capsys)
        assert names(counted) == expected
        assert {line["provider"] for line in counted} <= {"p"}
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [(line["level"], line["message"], line.get("was")) for line in lines]
    assert told == [
        ("WARNING", "circuit breaker opened", "closed"),
        ("WARNING", "circuit breaker opened", "half_open"),
        ("INFO", "circuit breaker closed", None),
    ]


def test_what_an_instance_does_without_the_table_is_told_as_well(
    lonely: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    lonely.call(REJECTION)
    assert names(metrics(capsys)) == ["BreakerOpened"]
