"""`Breakers` of one function instance: reads, writes, behaviour without the table, logs and metrics."""

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
    """One function instance, controlled by the test."""

    breakers: Breakers
    store: FaultyStore
    clock: FakeClock

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return run(work, self.clock)

    def session(self) -> BreakerSession:
        return self.run(self.breakers.session())

    def request_permit(self, provider_id: str = "p", *, source: PermitSource = REQUEST) -> Permit | Refusal:
        return self.run(self.session().request_permit(provider_id, lasts_s=10, source=source))

    def call(self, *outcomes: CallOutcome, provider_id: str = "p", source: PermitSource = REQUEST) -> None:
        """Makes one permitted call for each outcome."""
        for outcome in outcomes:
            session = self.session()
            permit = self.run(session.request_permit(provider_id, lasts_s=10, source=source))
            assert isinstance(permit, Permit), f"refused before {outcome}"
            self.run(session.report_outcome(permit, outcome, cause="boom"))

    def known(self, provider_id: str = "p") -> Breaker:
        return self.breakers.records.get(provider_id, ProviderRecord()).breaker


@dataclass
class Fleet:
    """Instances that share a table. Five failures open a breaker; after a minute, two successes close it."""

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
        """Returns the stored record."""
        return run(self.table.read([provider_id]), self.clock).get(provider_id, ProviderRecord())

    def breaker(self) -> Breaker:
        return self.record().breaker

    def open(self) -> None:
        """Opens the breaker by five failures of another instance."""
        self.instance().call(*[FAILURE] * 5)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(WaitingClock())


def metrics(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Returns the metrics written since the last call, in order."""
    lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    return [json.loads(line) for line in lines]


def names(counted: list[dict[str, Any]]) -> list[str]:
    return [line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] for line in counted]


# Reads.


@pytest.mark.parametrize(("later_s", "reads"), [(0, 1), (0.999999, 1), (1, 2), (3600, 2)])
def test_the_table_is_read_at_most_once_a_second(fleet: Fleet, later_s: float, reads: int) -> None:
    one = fleet.instance()
    one.session()
    fleet.clock.advance(later_s)
    one.session()
    assert len(one.store.reads) == reads


def test_after_a_freeze_the_table_is_read_again_although_the_monotonic_clock_stood_still(fleet: Fleet) -> None:
    one = fleet.instance()
    one.session()
    fleet.clock.freeze(1)
    one.session()
    assert len(one.store.reads) == 2


def test_records_are_read_again_after_the_clock_was_set_back(fleet: Fleet) -> None:
    one = fleet.instance()
    one.session()
    fleet.clock.freeze(-3600)
    one.session()
    assert len(one.store.reads) == 2


def test_the_age_of_records_counts_from_the_start_of_their_read(fleet: Fleet) -> None:
    one = fleet.instance()
    one.store.takes_s = 0.2
    one.session()
    fleet.clock.advance(0.8)
    one.session()
    assert len(one.store.reads) == 2


def test_one_read_returns_all_providers(fleet: Fleet) -> None:
    other = fleet.instance()
    for provider_id in ("p", "q"):
        other.call(REJECTION, provider_id=provider_id)
    one = fleet.instance()
    assert one.session().views().keys() == {"p", "q"}
    assert len(one.store.reads) == 1


def test_simultaneous_requests_share_one_read(fleet: Fleet) -> None:
    fleet.open()
    one = fleet.instance()
    one.store.takes_s = 0.1

    async def both() -> tuple[BreakerSession, BreakerSession]:
        return await asyncio.gather(one.breakers.session(), one.breakers.session())

    assert [session.views().keys() for session in one.run(both())] == [{"p"}, {"p"}]
    assert len(one.store.reads) == 1


def test_read_now_reads_again_within_the_second(fleet: Fleet) -> None:
    one = fleet.instance()
    one.session()
    fleet.open()
    assert one.run(one.breakers.read_now())["p"].breaker.state is OPEN
    assert one.session().views().keys() == {"p"}
    assert len(one.store.reads) == 2


def test_read_now_returns_the_last_known_records_if_the_table_does_not_answer(fleet: Fleet) -> None:
    fleet.open()
    one = fleet.instance()
    one.session()
    one.store.fault = Fault.HANGS
    began_s = fleet.clock.monotonic_s()
    assert one.run(one.breakers.read_now())["p"].breaker.state is OPEN
    assert one.breakers.is_table_unavailable
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(0.25)


def test_a_success_on_a_closed_breaker_without_failures_writes_nothing(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(*[SUCCESS] * 20)
    one.call(*[SUCCESS] * 20, source=CHECK)
    assert (len(one.store.reads), one.store.writes) == (1, [])


def test_a_neutral_outcome_on_a_closed_breaker_writes_nothing(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(*[NEUTRAL] * 20)
    assert one.store.writes == []


def test_a_success_after_more_than_a_second_reads_again_and_resets_failures_counted_meanwhile(fleet: Fleet) -> None:
    one = fleet.instance()
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.instance().call(*[FAILURE] * 4)
    fleet.clock.advance(1)
    one.run(session.report_outcome(permit, SUCCESS))
    assert fleet.breaker().failure_count == 0
    fleet.instance().call(FAILURE)
    assert fleet.breaker().state is CLOSED


def test_a_permit_requested_after_more_than_a_second_reads_again(fleet: Fleet) -> None:
    """The second candidate's permit is requested after the first has failed, perhaps long after the plan was made."""
    one = fleet.instance()
    session = one.session()
    fleet.open()
    fleet.clock.advance(20)
    assert one.run(session.request_permit("p", lasts_s=10)) == Refusal(OPEN, 40, "boom")


def test_a_permit_requested_within_the_second_does_not_read_again(fleet: Fleet) -> None:
    one = fleet.instance()
    session = one.session()
    fleet.clock.advance(0.999999)
    one.run(session.request_permit("p", lasts_s=10))
    assert len(one.store.reads) == 1


def test_a_success_within_the_second_does_not_read_again(fleet: Fleet) -> None:
    one = fleet.instance()
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.clock.advance(0.999999)
    one.run(session.report_outcome(permit, SUCCESS))
    assert len(one.store.reads) == 1


@pytest.mark.parametrize("outcome", [FAILURE, REJECTION, NEUTRAL])
def test_an_outcome_that_is_no_success_does_not_read_again(fleet: Fleet, outcome: CallOutcome) -> None:
    one = fleet.instance()
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.clock.advance(1)
    one.run(session.report_outcome(permit, outcome))
    assert len(one.store.reads) == 1


# The planner's views.


@pytest.mark.parametrize(("after_s", "left_s"), [(0, 60), (59, 1)])
def test_an_open_breaker_blocks_its_provider_until_its_probe_is_due(
    fleet: Fleet, after_s: float, left_s: float
) -> None:
    fleet.open()
    fleet.clock.advance(after_s)
    view = BreakerView(OPEN, Availability.BLOCKED, left_s, "boom")
    assert fleet.instance().session().views() == {"p": view}


def test_a_probe_blocks_the_provider_for_others_until_its_lease_ends(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    fleet.instance().request_permit()
    other = fleet.instance()
    assert other.session().views() == {"p": BreakerView(HALF_OPEN, Availability.BLOCKED, 12, "boom")}
    fleet.clock.advance(12)
    assert other.session().views() == {"p": BreakerView(HALF_OPEN, Availability.PROBE_DUE, 0, "boom")}


def test_a_closed_breaker_has_no_view(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(FAILURE)
    assert one.session().views() == {}


CHECKED = CheckResult("p", False, None, FakeClock().now(), "connect_failed")  # noqa: FBT003 — `is_healthy`


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
def test_a_provider_is_a_last_resort_while_recent_checks_may_probe_it(
    check: CheckResult | None, age_s: float, check_trust: CheckTrust, availability: Availability, state: BreakerState
) -> None:
    now = CHECKED.checked_at + timedelta(seconds=age_s)
    lease = None if state is OPEN else Lease("dead", now)
    breaker = Breaker(state, 7, retry_at=now, lease=lease, cause="boom", check_trust=check_trust)
    assert ProviderRecord(check, breaker).view(now) == BreakerView(state, availability, 0.0, "boom")


def test_a_check_older_than_its_maximum_age_is_not_used() -> None:
    record = ProviderRecord(CHECKED)
    assert record.fresh_check(CHECKED.checked_at + timedelta(seconds=149.999999)) == CHECKED
    assert record.fresh_check(CHECKED.checked_at + timedelta(seconds=150)) is None
    assert ProviderRecord().fresh_check(CHECKED.checked_at) is None


def test_recording_a_check_stores_it_and_does_not_change_the_breaker(fleet: Fleet) -> None:
    fleet.open()
    one, before = fleet.instance(), fleet.breaker()
    one.run(one.session().record_check(CHECKED))
    assert one.breakers.records["p"] == ProviderRecord(CHECKED, before)
    assert fleet.record() == ProviderRecord(CHECKED, before)


def test_changes_of_the_breaker_do_not_change_the_check(fleet: Fleet) -> None:
    one = fleet.instance()
    one.run(one.session().record_check(CHECKED))
    one.call(*[FAILURE] * 5)
    assert (fleet.record().check, fleet.breaker().state) == (CHECKED, OPEN)
    assert one.breakers.records["p"].check == CHECKED


# Permits and leases.


def test_a_permit_names_its_source(fleet: Fleet) -> None:
    one = fleet.instance()
    assert [one.request_permit("q", source=source) for source in PermitSource] == [
        Permit("q", REQUEST, 0),
        Permit("q", CHECK, 0),
    ]


def test_a_probes_lease_lasts_two_seconds_longer_than_its_call_may_take(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    permit = fleet.instance().request_permit()
    assert isinstance(permit, Permit)
    assert permit == Permit("p", REQUEST, 2, f"token {fleet.tokens}")
    assert fleet.breaker().lease == Lease(f"token {fleet.tokens}", fleet.clock.now() + timedelta(seconds=12))


def test_a_refusal_has_the_remaining_time_and_the_cause_and_writes_nothing(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(20)
    one = fleet.instance()
    assert one.request_permit() == Refusal(OPEN, 40, "boom")
    assert one.store.writes == []


def test_each_provider_has_its_own_breaker(fleet: Fleet) -> None:
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


def test_the_loser_of_a_race_for_a_lease_is_refused_until_the_winners_lease_ends(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    winner, loser = fleet.instance(), fleet.instance()
    late = loser.session()
    assert isinstance(winner.request_permit(), Permit)
    fleet.clock.advance(0.5)
    assert loser.run(late.request_permit("p", lasts_s=10)) == Refusal(HALF_OPEN, 11.5, "boom")
    assert loser.known() == fleet.breaker()
    assert loser.store.writes == ["replace"]


def test_the_loser_of_a_race_for_a_lease_gets_a_permit_if_the_winner_closed_the_breaker(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    winner, loser = fleet.instance(), fleet.instance()
    late = loser.session()
    winner.call(SUCCESS, SUCCESS)
    assert loser.run(late.request_permit("p", lasts_s=10)) == Permit("p", REQUEST, 5, None)


def test_a_success_resets_a_count_that_another_instance_changed_meanwhile(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    other.call(FAILURE, FAILURE)
    late = one.session()
    other.call(SUCCESS, FAILURE)
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    one.run(late.report_outcome(permit, SUCCESS))
    assert fleet.breaker().failure_count == 0
    assert one.store.writes == ["replace", "replace"]


def test_a_success_changes_nothing_if_another_instance_reset_the_count_meanwhile(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    other.call(FAILURE, FAILURE)
    late = one.session()
    other.call(SUCCESS)
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    before = fleet.breaker()
    one.run(late.report_outcome(permit, SUCCESS))
    assert (fleet.breaker(), one.store.writes) == (before, ["replace"])


def test_a_reset_includes_newer_failures_and_keeps_the_time_of_the_last_one(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    other.call(FAILURE)
    late = one.session()
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    fleet.clock.advance(0.5)
    other.call(FAILURE)
    one.run(late.report_outcome(permit, SUCCESS))
    assert (fleet.breaker().failure_count, fleet.breaker().last_failure) == (0, fleet.clock.now())


def test_a_failure_is_not_counted_if_the_breaker_opened_meanwhile(fleet: Fleet) -> None:
    one = fleet.instance()
    late = one.session()
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    fleet.open()
    before = fleet.breaker()
    one.run(late.report_outcome(permit, FAILURE))
    assert (fleet.breaker(), one.known()) == (before, before)


def test_failures_are_added_to_those_counted_by_others_since_the_read(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    late = one.session()
    other.call(FAILURE, FAILURE, source=CHECK)
    permit = one.run(late.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    one.run(late.report_outcome(permit, FAILURE, cause="newer"))
    breaker = fleet.breaker()
    assert (breaker.failure_count, breaker.cause, breaker.failure_source) == (3, "newer", REQUEST)


def test_a_success_during_the_delay_of_the_fifth_failure_keeps_the_breaker_closed(fleet: Fleet) -> None:
    one, other = fleet.instance(), fleet.instance()
    fleet.instance().call(*[FAILURE] * 4)
    sessions = [instance.session() for instance in (one, other)]
    permits = [one.run(session.request_permit("p", lasts_s=10)) for session in sessions]
    assert isinstance(permits[0], Permit)
    assert isinstance(permits[1], Permit)
    other.store.takes_s = 0.09  # it is written after the failure was counted
    failed, succeeded = sessions[0].report_outcome(permits[0], FAILURE), sessions[1].report_outcome(permits[1], SUCCESS)

    async def both() -> None:
        await asyncio.gather(failed, succeeded)

    one.run(both())
    assert (fleet.breaker().state, fleet.breaker().failure_count) == (CLOSED, 0)


@pytest.mark.parametrize(("failures", "delay_s"), [(4, 0), (5, 0.1)])
def test_only_a_failure_that_would_open_the_breaker_is_delayed(fleet: Fleet, failures: int, delay_s: float) -> None:
    one = fleet.instance()
    one.call(*[FAILURE] * (failures - 1))
    began_s = fleet.clock.monotonic_s()
    one.call(FAILURE)
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(delay_s)


def test_five_failures_at_once_open_once(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    instances = [fleet.instance() for _ in range(5)]
    sessions = [instance.session() for instance in instances]
    permits = [fleet.instance().run(session.request_permit("p", lasts_s=10)) for session in sessions]

    async def all_fail() -> None:
        reports = [
            session.report_outcome(permit, FAILURE, cause="boom")
            for session, permit in zip(sessions, permits, strict=True)
            if isinstance(permit, Permit)
        ]
        await asyncio.gather(*reports)

    fleet.instance().run(all_fail())
    assert (fleet.breaker().state, fleet.breaker().epoch, fleet.breaker().failure_count) == (OPEN, 1, 5)
    assert names(metrics(capsys)) == ["BreakerOpened"]


class ContestedStore(MemoryProviderStore):
    """A table in which another instance always writes first."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        self.attempts += 1
        now = self._records[provider_id].breaker
        self._records[provider_id] = ProviderRecord(None, replace(now, epoch=now.epoch + 1))
        return await super().replace(provider_id, before, after)


def test_after_four_lost_races_the_permit_is_refused(fleet: Fleet) -> None:
    table = ContestedStore()
    table._records["p"] = ProviderRecord(None, Breaker(OPEN, 1, retry_at=fleet.clock.now(), cause="boom"))
    assert fleet.instance(table).request_permit() == Refusal(OPEN, 0.0, "boom")
    assert table.attempts == 4


def test_one_of_two_simultaneous_requests_of_one_instance_gets_the_lease(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    one = fleet.instance()
    session, one.store.takes_s = one.session(), 0.02

    async def both() -> tuple[Permit | Refusal, Permit | Refusal]:
        return await asyncio.gather(session.request_permit("p", lasts_s=10), session.request_permit("p", lasts_s=10))

    assert [type(outcome) for outcome in one.run(both())] == [Permit, Refusal]


# A slow read.


async def during_a_read(one: Instance, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` between the execution of a read and the arrival of its answer."""
    one.store.takes_s = 0.2
    reading = asyncio.ensure_future(one.breakers.session())
    await asyncio.sleep(0.15)
    one.store.takes_s = 0
    await work
    await reading


def test_a_running_read_does_not_overwrite_a_write_made_meanwhile(fleet: Fleet) -> None:
    one = fleet.instance()
    one.call(FAILURE, provider_id="q")
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    fleet.instance().call(REJECTION, provider_id="q")
    fleet.clock.advance(1)
    one.run(during_a_read(one, session.report_outcome(permit, REJECTION)))
    assert one.known() == fleet.breaker()
    assert (one.known("p").state, one.known("q").state) == (OPEN, OPEN)


def test_a_running_read_does_not_overwrite_a_check_recorded_meanwhile(fleet: Fleet) -> None:
    one = fleet.instance()
    session = one.session()
    fleet.clock.advance(1)
    one.run(during_a_read(one, session.record_check(CHECKED)))
    assert one.breakers.records["p"].check == CHECKED


def test_the_next_read_overwrites_earlier_writes(fleet: Fleet) -> None:
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
def test_replace_requires_the_same_epoch_and_lease_and_at_least_as_many_failures(
    fleet: Fleet,
    before: Breaker,
    is_written: bool,  # noqa: FBT001 — the expected value
) -> None:
    breaker = Breaker(HALF_OPEN, 7, 5, lease=Lease("mine", fleet.clock.now()))
    fleet.table._records["p"] = ProviderRecord(CHECKED, breaker)
    written = run(fleet.table.replace("p", before, replace(before, success_count=3)), fleet.clock)
    expected = replace(breaker, success_count=3) if is_written else breaker
    assert written == WriteResult(is_written=is_written, breaker=expected)
    assert fleet.record() == ProviderRecord(CHECKED, expected)


@pytest.mark.parametrize(("epoch", "is_counted"), [(6, False), (7, True), (8, False)])
def test_a_failure_is_counted_only_in_the_epoch_of_its_call(
    fleet: Fleet,
    epoch: int,
    is_counted: bool,  # noqa: FBT001 — the expected value
) -> None:
    fleet.table._records["p"] = ProviderRecord(CHECKED, Breaker(CLOSED, 7, 3))
    after = Breaker(CLOSED, epoch, 1, last_failure=fleet.clock.now(), cause="boom", failure_source=CHECK)
    written = run(fleet.table.add_failure("p", Breaker(CLOSED, epoch), after), fleet.clock)
    expected = replace(after, failure_count=4) if is_counted else Breaker(CLOSED, 7, 3)
    assert written == WriteResult(is_written=is_counted, breaker=expected)
    assert fleet.record() == ProviderRecord(CHECKED, expected)


# A table that fails.


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_requests_use_the_last_known_records_while_the_table_fails(fleet: Fleet, fault: Fault) -> None:
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
def test_an_instance_that_never_reached_the_table_treats_every_breaker_as_closed(fleet: Fleet, fault: Fault) -> None:
    fleet.open()
    one = fleet.instance()
    one.store.fault = fault
    assert isinstance(one.request_permit(), Permit)


def test_a_hanging_table_costs_250_ms_and_is_not_called_for_five_seconds(fleet: Fleet) -> None:
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


def test_all_table_calls_of_a_request_share_one_time_budget(fleet: Fleet) -> None:
    fleet.open()
    fleet.clock.advance(60)
    one = fleet.instance()
    one.store.takes_s = 0.1
    began_s = fleet.clock.monotonic_s()
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(0.2)
    one.run(session.report_outcome(permit, SUCCESS))  # too little time is left, so the table is not called
    assert fleet.clock.monotonic_s() - began_s == pytest.approx(0.2)
    assert not one.breakers.is_table_unavailable


def test_the_providers_call_does_not_count_against_the_time_budget(fleet: Fleet) -> None:
    one = fleet.instance()
    one.store.takes_s = 0.1
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=60))
    assert isinstance(permit, Permit)
    fleet.clock.advance(30)
    one.run(session.report_outcome(permit, FAILURE))
    assert fleet.breaker().failure_count == 1


def test_each_request_has_its_own_time_budget(fleet: Fleet) -> None:
    one = fleet.instance()
    one.store.takes_s = 0.12
    for _ in range(3):
        fleet.clock.advance(1)
        one.call(FAILURE)
    assert fleet.breaker().failure_count == 3
    assert not one.breakers.is_table_unavailable


def test_a_session_can_have_a_longer_time_budget(fleet: Fleet) -> None:
    fleet.open()
    one = fleet.instance()
    one.store.takes_s = 1.9
    assert one.run(one.breakers.session(table_timeout_s=2)).views().keys() == {"p"}


@pytest.mark.parametrize("fault", EVERY_FAULT)
@pytest.mark.parametrize("call", ["read", "lease", "failure", "reset", "check"])
def test_a_failed_table_call_writes_one_warning_and_one_metric_in_five_seconds(
    fleet: Fleet, fault: Fault, call: str, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    one = fleet.instance()
    if call == "lease":
        fleet.open()
        fleet.clock.advance(60)
    if call == "reset":
        fleet.instance().call(FAILURE)
    session = one.session()
    one.store.fault, _ = fault, capsys.readouterr()
    if call == "read":
        fleet.clock.advance(1)
        one.session()
    elif call == "check":
        one.run(session.record_check(CHECKED))
    else:
        one.call(FAILURE if call == "failure" else SUCCESS)
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
def test_the_table_counts_as_unavailable_for_five_seconds_after_a_failure(
    fleet: Fleet,
    after_s: float,
    is_table_unavailable: bool,  # noqa: FBT001 — the expected value
) -> None:
    one = fleet.instance()
    one.store.fault = Fault.REFUSED
    one.session()
    fleet.clock.advance(after_s)
    assert one.breakers.is_table_unavailable == is_table_unavailable


def test_a_table_that_was_not_called_yet_counts_as_available(fleet: Fleet) -> None:
    assert not fleet.instance().breakers.is_table_unavailable


@pytest.fixture
def offline(fleet: Fleet) -> Instance:
    """An instance that cannot reach the table."""
    one = fleet.instance()
    one.store.fault = Fault.REFUSED
    one.session()
    return one


def test_without_the_table_an_instance_opens_its_own_breaker_by_its_own_failures(
    fleet: Fleet, offline: Instance
) -> None:
    offline.call(*[FAILURE] * 4)
    assert offline.known().state is CLOSED
    offline.call(FAILURE)
    assert offline.request_permit() == Refusal(OPEN, 60, "boom")
    assert fleet.breaker() == Breaker()


def test_without_the_table_an_instance_continues_the_last_known_count(fleet: Fleet) -> None:
    fleet.instance().call(*[FAILURE] * 3)
    one = fleet.instance()
    one.session()
    one.store.fault = Fault.REFUSED
    one.call(FAILURE, FAILURE)
    assert one.known().state is OPEN


def test_without_the_table_an_instance_permits_one_probe_at_a_time_and_closes_its_breaker(
    fleet: Fleet, offline: Instance
) -> None:
    offline.call(*[FAILURE] * 5)
    fleet.clock.advance(60)
    assert isinstance(offline.request_permit(), Permit)
    assert offline.request_permit() == Refusal(HALF_OPEN, 12, "boom")
    fleet.clock.advance(12)
    offline.call(SUCCESS, SUCCESS)
    assert offline.known().state is CLOSED
    assert fleet.breaker() == Breaker()


def test_without_the_table_a_success_resets_the_instances_own_count(offline: Instance) -> None:
    offline.call(*[FAILURE] * 4, SUCCESS, *[FAILURE] * 4)
    assert offline.known().state is CLOSED


def test_the_tables_records_replace_local_ones_when_it_answers_again(fleet: Fleet, offline: Instance) -> None:
    offline.call(REJECTION)
    fleet.instance().call(FAILURE)
    offline.store.fault = Fault.NONE
    fleet.clock.advance(5)
    assert offline.session().views() == {}
    assert offline.known() == fleet.breaker()
    offline.call(FAILURE)
    assert fleet.breaker().failure_count == 2


def test_local_changes_are_discarded_when_the_table_answers_again(fleet: Fleet, offline: Instance) -> None:
    offline.call(REJECTION)
    offline.store.fault = Fault.NONE
    fleet.clock.advance(5)
    assert isinstance(offline.request_permit(), Permit)
    assert offline.known() == Breaker()


def local_change_in_the_same_epoch(fleet: Fleet) -> tuple[Instance, BreakerSession, Permit]:
    """An instance whose local breaker has the same state and epoch as the stored one, but another `retry_at`."""
    fleet.rules = CircuitBreakerConfig(failure_threshold=1, timeout_secs=10)
    one, other = fleet.instance(), fleet.instance()
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=30))
    assert isinstance(permit, Permit)
    one.store.fault = Fault.REFUSED
    one.call(FAILURE)
    one.store.fault = Fault.NONE
    fleet.clock.advance(9)
    other.call(FAILURE)
    fleet.clock.advance(2)
    assert (one.known().state, one.known().epoch) == (fleet.breaker().state, fleet.breaker().epoch) == (OPEN, 1)
    assert one.known().retry_at != fleet.breaker().retry_at
    return one, session, permit


def test_a_probe_that_is_due_only_locally_is_refused_when_the_table_answers_again(fleet: Fleet) -> None:
    one, session, _ = local_change_in_the_same_epoch(fleet)
    before = fleet.breaker()
    assert isinstance(one.run(session.request_permit("p", lasts_s=10)), Refusal)
    assert fleet.breaker() == before


@pytest.mark.parametrize("outcome", CallOutcome)
def test_an_outcome_of_a_permit_from_before_the_outage_is_late_when_the_table_answers_again(
    fleet: Fleet, outcome: CallOutcome
) -> None:
    one, session, permit = local_change_in_the_same_epoch(fleet)
    before = fleet.breaker()
    one.run(session.report_outcome(permit, outcome))
    assert fleet.breaker() == one.known() == before


def test_any_outcome_reads_the_table_again_if_there_are_local_changes(fleet: Fleet, offline: Instance) -> None:
    session = offline.session()
    permit = offline.run(session.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    offline.call(*[FAILURE] * 5)
    offline.store.fault = Fault.NONE
    fleet.clock.advance(5)
    offline.run(session.report_outcome(permit, FAILURE))
    assert (fleet.breaker().failure_count, offline.known()) == (1, fleet.breaker())


def test_the_outcome_of_a_local_probe_is_not_written_to_the_table(fleet: Fleet, offline: Instance) -> None:
    fleet.open()
    offline.call(*[FAILURE] * 5)
    fleet.clock.advance(59)
    offline.session()
    fleet.clock.advance(1)
    session = offline.session()
    permit = offline.run(session.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    assert isinstance(fleet.instance().request_permit(), Permit)
    offline.store.fault, before = Fault.NONE, fleet.breaker()
    fleet.clock.advance(5)
    for outcome in (SUCCESS, FAILURE):
        offline.run(session.report_outcome(permit, outcome))
        assert fleet.breaker() == offline.known() == before


def test_a_check_that_could_not_be_written_is_kept_locally(offline: Instance) -> None:
    offline.run(offline.session().record_check(CHECKED))
    assert offline.breakers.records["p"].check == CHECKED


# Logs and metrics.


def test_an_opening_is_logged_and_counted_once_in_all_instances(
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
    logged = (line["level"], line["message"], line["provider"], line["cause"], line["failures"], line["was"])
    assert logged == ("WARNING", "circuit breaker opened", "p", "boom", 5, "closed")


def test_an_opening_by_a_rejection_is_logged_with_the_rejections_cause(
    fleet: Fleet, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    one = fleet.instance()
    one.call(FAILURE)
    session = one.session()
    permit = one.run(session.request_permit("p", lasts_s=10))
    assert isinstance(permit, Permit)
    one.run(session.report_outcome(permit, REJECTION, cause="invalid_api_key"))
    assert metrics(capsys)[0]["cause"] == "invalid_api_key"
    line = json.loads(log.getvalue())
    assert (line["cause"], line["failures"]) == ("invalid_api_key", 2)


def test_probes_openings_and_closings_are_counted_and_logged(
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
    logged = [(line["level"], line["message"], line.get("was")) for line in lines]
    assert logged == [
        ("WARNING", "circuit breaker opened", "closed"),
        ("WARNING", "circuit breaker opened", "half_open"),
        ("INFO", "circuit breaker closed", None),
    ]


def test_a_local_opening_is_counted_too(offline: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    offline.call(REJECTION)
    assert names(metrics(capsys)) == ["BreakerOpened"]
