"""The quotas of keys and of the bridge, on the store in memory and on DynamoDB over HTTP: the same claims on both."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.access.quotas import (
    Account,
    Counter,
    Hold,
    Quota,
    Quotas,
    QuotaStore,
    QuotasUnavailable,
    Shortage,
)
from sekha_llm_bridge.access.quotas.account import hold_name
from sekha_llm_bridge.access.quotas.dynamodb import DynamoQuotaStore
from sekha_llm_bridge.access.quotas.memory import MemoryQuotaStore
from sekha_llm_bridge.access.quotas.store import Change, WriteResult
from sekha_llm_bridge.access.spending import BRIDGE, Need, RequestSpending, quotas_of
from sekha_llm_bridge.aws.state_table import quota_key
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.errors import AccessUnavailable, KeyLimitExceeded, NotAllowed
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, DynamoDb

T = TypeVar("T")
KEY = "key_a"
NOTHING = Need(Decimal(0), 0)


def usd(text: str) -> int:
    return int(Decimal(text) * 10**12)


@pytest.fixture(autouse=True)
def _no_aws_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SESSION_TOKEN", "ENDPOINT_URL", "CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_REGION", REGION)


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


class SuspendingClock(FakeClock):
    """Lets the other requests run while one sleeps."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


class CountingStore:
    """Counts the calls of a store, and fails where a test says so."""

    def __init__(self, inner: QuotaStore) -> None:
        self.inner = inner
        self.reads = self.writes = 0
        self.lost_answers = 0
        self.is_down = False

    async def read(self, owner: str) -> Account:
        self.reads += 1
        self._check()
        return await self.inner.read(owner)

    async def change(self, owner: str, change: Change) -> WriteResult:
        self.writes += 1
        self._check()
        return self._answer(await self.inner.change(owner, change))

    async def replace(self, owner: str, before: Account, after: Account) -> WriteResult:
        self.writes += 1
        self._check()
        return self._answer(await self.inner.replace(owner, before, after))

    def _check(self) -> None:
        if self.is_down:
            raise QuotasUnavailable("down")

    def _answer(self, result: WriteResult) -> WriteResult:
        if self.lost_answers:
            self.lost_answers -= 1
            raise QuotasUnavailable("the answer was lost")
        return result


@dataclass
class Fleet:
    """Instances that share one store."""

    runner: asyncio.Runner
    clock: FakeClock
    store: CountingStore
    names: Iterator[str] = field(default_factory=lambda: (f"{n:06}" for n in range(10**6)))

    @property
    def quotas(self) -> Quotas:
        return Quotas(self.store, self.clock)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def request(self, *owned: Quota, lasts_s: float = 60, fails_open: bool = False) -> RequestSpending:
        lapses = self.clock.now() + timedelta(seconds=lasts_s)
        return RequestSpending(self.quotas, owned, clock=self.clock, lapses=lapses, fails_open=fails_open)

    def reserve(self, request: RequestSpending, cost: str, *, tokens: int = 0, max_wait_s: float = 0) -> Any:
        return self.run(request.reserve(Need(Decimal(cost), tokens), spent=NOTHING, max_wait_s=max_wait_s))

    def settle(self, request: RequestSpending, cost: str, *, tokens: int = 0) -> None:
        self.run(request.settle(Need(Decimal(cost), tokens)))

    def account(self, quota: Quota) -> Account:
        return self.run(Quotas(self.store.inner, self.clock).read(quota))


@pytest.fixture(params=["memory", "dynamodb"])
def fleet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    clock = SuspendingClock()
    connections = Connections(clock)
    store: QuotaStore = MemoryQuotaStore()
    if request.param == "dynamodb":
        dynamodb: DynamoDb = request.getfixturevalue("dynamodb")
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
        store = DynamoQuotaStore(dynamodb.new_table(), connections, clock)
    with asyncio.Runner() as runner:
        yield Fleet(runner, clock, CountingStore(store))
        runner.run(connections.aclose())


def budget(daily: str | None = "1", monthly: str | None = None, owner: str = KEY) -> Quota:
    limits = {Counter.DAY: daily, Counter.MONTH: monthly}
    return Quota(owner, {counter: usd(text) for counter, text in limits.items() if text is not None})


def test_a_request_with_a_budget_costs_two_writes_and_no_read(fleet: Fleet) -> None:
    quota = budget()
    warm = fleet.request(quota)
    assert fleet.reserve(warm, "0.1") is None
    fleet.settle(warm, "0.1")
    before = fleet.store.writes
    request = fleet.request(quota)
    assert fleet.reserve(request, "0.1") is None
    fleet.settle(request, "0.04")
    assert (fleet.store.writes - before, fleet.store.reads) == (2, 0)


def test_what_was_settled_is_used_and_nothing_stays_reserved(fleet: Fleet) -> None:
    quota = budget("1", "20")
    for cost in ("0.04", "0.000000000001", "0.1"):
        request = fleet.request(quota)
        assert fleet.reserve(request, "0.1") is None
        fleet.settle(request, cost)
    account = fleet.account(quota)
    spent = usd("0.140000000001")
    assert account.used == {Counter.DAY: spent, Counter.MONTH: spent}
    assert account.holds == {}


def test_a_budget_without_room_refuses_and_says_what_is_left(fleet: Fleet) -> None:
    quota = budget("1", "20")
    request = fleet.request(quota)
    fleet.reserve(request, "0.9")
    fleet.settle(request, "0.9")
    refused = fleet.reserve(fleet.request(quota), "0.2")
    assert not refused.is_temporary
    assert refused.left_usd == Decimal("0.1")
    assert refused.public() == {
        "of": KEY,
        "period": "day",
        "limit_usd": 1.0,
        "spent_usd": 0.9,
        "reserved_usd": 0.0,
        "left_usd": 0.1,
        "needed_usd": 0.2,
        "renews_at": "2026-01-03T00:00:00+00:00",
    }


def test_what_fits_exactly_is_not_refused(fleet: Fleet) -> None:
    assert fleet.reserve(fleet.request(budget("1")), "1") is None


def test_a_request_waits_for_room_that_is_only_reserved(fleet: Fleet) -> None:
    quota = budget("1")
    first, second = fleet.request(quota, lasts_s=10**5), fleet.request(quota)
    assert fleet.reserve(first, "0.9") is None

    async def both() -> Any:
        waiting = asyncio.ensure_future(second.reserve(Need(Decimal("0.9"), 0), spent=NOTHING, max_wait_s=10**4))
        await asyncio.sleep(0)
        await first.settle(Need(Decimal("0.05"), 0))
        return await waiting

    assert fleet.run(both()) is None


def test_a_request_that_does_not_wait_long_enough_is_told_that_the_shortage_is_temporary(fleet: Fleet) -> None:
    quota = budget("1")
    assert fleet.reserve(fleet.request(quota), "0.9") is None
    refused = fleet.reserve(fleet.request(quota), "0.9", max_wait_s=2)
    assert refused.is_temporary
    assert refused.left_usd == 1


def test_the_reservation_of_a_killed_function_lapses(fleet: Fleet) -> None:
    quota = budget("1")
    fleet.reserve(fleet.request(quota, lasts_s=60), "1")
    assert fleet.reserve(fleet.request(quota), "1") is not None
    fleet.clock.advance(61)
    assert fleet.account(quota).holds == {}
    assert fleet.reserve(fleet.request(quota), "1") is None


def test_a_request_that_outlives_its_reservation_is_still_counted(fleet: Fleet) -> None:
    quota = budget("1")
    late, other = fleet.request(quota, lasts_s=60), fleet.request(quota, lasts_s=1000)
    fleet.reserve(late, "1")
    fleet.clock.advance(61)
    fleet.reserve(other, "0.1")
    fleet.settle(late, "0.3")
    fleet.settle(other, "0.1")
    assert fleet.account(quota).used[Counter.DAY] == usd("0.4")


def test_a_new_day_has_a_new_budget_and_the_month_goes_on(fleet: Fleet) -> None:
    quota = budget("1", "1.5")
    request = fleet.request(quota)
    fleet.reserve(request, "1")
    fleet.settle(request, "1")
    fleet.clock.advance(24 * 3600)
    refused = fleet.reserve(fleet.request(quota), "0.6")
    assert refused.public()["period"] == "month"
    assert refused.public()["renews_at"] == "2026-02-01T00:00:00+00:00"
    assert fleet.reserve(fleet.request(quota), "0.5") is None


def test_what_is_under_way_at_midnight_counts_for_the_new_day(fleet: Fleet) -> None:
    quota = budget("1")
    request = fleet.request(quota, lasts_s=100_000)
    fleet.reserve(request, "0.8")
    fleet.clock.advance(24 * 3600)
    assert fleet.reserve(fleet.request(quota), "0.3").is_temporary
    fleet.settle(request, "0.5")
    assert fleet.reserve(fleet.request(quota), "0.5") is None


@pytest.mark.parametrize("lost", [1, 2])
def test_a_write_whose_answer_is_lost_is_not_made_twice(fleet: Fleet, lost: int) -> None:
    quota = budget("1")
    fleet.settle(fleet.request(quota), "0")
    request = fleet.request(quota)
    fleet.store.lost_answers = lost
    assert fleet.reserve(request, "0.4") is None
    fleet.store.lost_answers = lost
    fleet.settle(request, "0.3")
    account = fleet.account(quota)
    assert (account.used[Counter.DAY], account.holds) == (usd("0.3"), {})


def test_a_second_attempt_reserves_only_what_the_first_one_has_used(fleet: Fleet) -> None:
    quota = budget("1")
    request = fleet.request(quota)
    need = Need(Decimal("0.3"), 0)
    fleet.run(request.reserve(need, spent=NOTHING, max_wait_s=0))
    request.end_attempt(need)
    fleet.run(request.reserve(need, spent=Need(Decimal("0.1"), 0), max_wait_s=0))
    assert fleet.account(quota).used[Counter.DAY] == usd("0.4")
    request.end_attempt(need)
    writes = fleet.store.writes
    fleet.run(request.reserve(need, spent=Need(Decimal("0.1"), 0), max_wait_s=0))
    assert fleet.store.writes == writes


def test_parallel_attempts_of_one_request_are_reserved_together(fleet: Fleet) -> None:
    quota = budget("1")
    request = fleet.request(quota)
    need = Need(Decimal("0.4"), 0)
    assert [fleet.run(request.reserve(need, spent=NOTHING, max_wait_s=0)) is None for _ in range(3)] == [
        True,
        True,
        False,
    ]


def test_a_free_attempt_of_a_caller_with_a_budget_writes_nothing(fleet: Fleet) -> None:
    request = fleet.request(budget("1"))
    assert fleet.reserve(request, "0", tokens=500) is None
    fleet.settle(request, "0", tokens=400)
    assert (fleet.store.reads, fleet.store.writes) == (0, 0)


def test_the_budgets_of_the_key_and_of_the_bridge_both_hold(fleet: Fleet) -> None:
    of_key, of_bridge = budget("1"), budget("0.5", owner=BRIDGE)
    assert fleet.reserve(fleet.request(of_key, of_bridge), "0.6").public()["of"] == BRIDGE
    assert fleet.reserve(fleet.request(of_key, of_bridge), "0.41").public()["of"] == KEY
    fleet.clock.advance(61)
    assert fleet.reserve(fleet.request(of_key, of_bridge), "0.4") is None


def test_a_rate_is_kept_for_each_minute(fleet: Fleet) -> None:
    quota = Quota(KEY, {Counter.REQUESTS: 2})
    fleet.reserve(fleet.request(quota), "0")
    fleet.reserve(fleet.request(quota), "0")
    with pytest.raises(KeyLimitExceeded, match="2 requests a minute") as refused:
        fleet.reserve(fleet.request(quota), "0")
    assert refused.value.retry_after_s == 55
    fleet.clock.advance(55)
    assert fleet.reserve(fleet.request(quota), "0") is None


def test_several_attempts_of_one_request_count_as_one_request(fleet: Fleet) -> None:
    quota = Quota(KEY, {Counter.REQUESTS: 1})
    request = fleet.request(quota)
    for _ in range(3):
        assert fleet.reserve(request, "0") is None


def test_tokens_are_reserved_by_the_estimate_and_settled_by_the_count(fleet: Fleet) -> None:
    quota = Quota(KEY, {Counter.TOKENS: 1000})
    request = fleet.request(quota)
    fleet.reserve(request, "0", tokens=800)
    with pytest.raises(KeyLimitExceeded, match="1000 tokens a minute, and this request needs about 300"):
        fleet.reserve(fleet.request(quota), "0", tokens=300)
    fleet.settle(request, "0", tokens=700)
    assert fleet.reserve(fleet.request(quota), "0", tokens=300) is None


def test_a_place_among_the_requests_at_once_is_given_back(fleet: Fleet) -> None:
    quota = Quota(KEY, {Counter.RUNNING: 1})
    request = fleet.request(quota)
    fleet.reserve(request, "0")
    with pytest.raises(KeyLimitExceeded, match="1 requests at once"):
        fleet.reserve(fleet.request(quota), "0")
    fleet.settle(request, "0")
    assert fleet.reserve(fleet.request(quota, lasts_s=30), "0") is None
    fleet.clock.advance(31)
    assert fleet.reserve(fleet.request(quota), "0") is None, "the place of a killed function is given back, too"


def test_a_table_that_is_down_stops_paid_attempts_only(fleet: Fleet) -> None:
    fleet.store.is_down = True
    with pytest.raises(AccessUnavailable):
        fleet.reserve(fleet.request(budget("1")), "0.1")
    assert fleet.reserve(fleet.request(budget("1")), "0") is None
    assert fleet.reserve(fleet.request(Quota(KEY, {Counter.REQUESTS: 1})), "0") is None
    assert fleet.reserve(fleet.request(budget("1"), fails_open=True), "0.1") is None


def test_a_settlement_that_fails_raises_nothing_and_lapses(fleet: Fleet) -> None:
    quota = budget("1")
    request = fleet.request(quota)
    fleet.reserve(request, "0.5")
    fleet.store.is_down = True
    fleet.settle(request, "0.1")
    fleet.store.is_down = False
    fleet.clock.advance(61)
    assert fleet.account(quota).holds == {}


def test_many_requests_at_once_never_overspend(fleet: Fleet) -> None:
    quota = budget("1")
    allowed = 0

    async def one() -> None:
        nonlocal allowed
        request = fleet.request(quota, lasts_s=10**5)
        need = Need(Decimal("0.1"), 0)
        if await request.reserve(need, spent=NOTHING, max_wait_s=10**4) is None:
            allowed += 1
            await asyncio.sleep(0)
            await request.settle(Need(Decimal("0.04"), 0))

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(40)))

    fleet.run(all_of_them())
    # One after another: as long as 0.1 fits beside what was spent, which is 23 requests of 0.04.
    assert allowed == 23
    assert fleet.account(quota).used[Counter.DAY] == usd("0.92")


def test_a_policy_without_limits_has_no_quota() -> None:
    assert quotas_of(Caller(KEY), daily_usd=None, monthly_usd=None) == ()
    policy = KeyPolicy(daily_usd=Decimal("0.5"), requests_per_minute=3)
    owned = quotas_of(Caller(KEY, {}, policy), daily_usd=None, monthly_usd=Decimal(7))
    assert owned == (
        Quota(KEY, {Counter.REQUESTS: 3, Counter.DAY: usd("0.5")}),
        Quota(BRIDGE, {Counter.MONTH: usd("7")}),
    )


def test_an_item_of_another_form_is_an_unavailable_quota(dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    clock, table = FakeClock(), dynamodb.new_table()
    connections = Connections(clock)
    store = DynamoQuotaStore(table, connections, clock)
    name = hold_name(datetime(2026, 1, 2, 4, tzinfo=UTC), "abcdef")
    dynamodb.set_attributes(table, quota_key(KEY), **{name: {"S": "a:b"}})
    with asyncio.Runner() as runner:
        with pytest.raises(QuotasUnavailable):
            runner.run(store.read(KEY))
        runner.run(connections.aclose())


def test_a_hold_of_nothing_is_not_stored(fleet: Fleet) -> None:
    quota = Quota(KEY, {Counter.REQUESTS: 5})
    outcome = fleet.run(fleet.quotas.reserve(quota, "h00000000a", Hold(cost=5), requests=1))
    assert not isinstance(outcome, Shortage)
    assert fleet.account(quota).holds == {}


def test_an_instance_whose_clock_is_behind_does_not_refill_a_budget(fleet: Fleet) -> None:
    quota = budget("1", "5")
    fleet.clock.advance(30 * 24 * 3600)
    behind = FakeClock()
    behind.advance(30 * 24 * 3600 - 24 * 3600)  # the day before
    for _ in range(3):
        late = RequestSpending(
            Quotas(fleet.store, behind),
            (quota,),
            clock=behind,
            lapses=fleet.clock.now() + timedelta(days=2),
            fails_open=False,
        )
        on_time = fleet.request(quota, lasts_s=10**6)
        for request in (late, on_time):
            if fleet.reserve(request, "0.4") is None:
                fleet.settle(request, "0.4")
    assert fleet.account(quota).used[Counter.DAY] == usd("0.8")


def test_a_client_that_disconnects_while_its_cost_is_reserved_leaves_nothing_reserved(fleet: Fleet) -> None:
    quota = Quota(KEY, {Counter.DAY: usd("1"), Counter.RUNNING: 1})
    request = fleet.request(quota)

    async def cancelled() -> None:
        reserving = asyncio.ensure_future(request.reserve(Need(Decimal("0.9"), 0), spent=NOTHING, max_wait_s=0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reserving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reserving

    fleet.run(cancelled())
    fleet.settle(request, "0")
    account = fleet.account(quota)
    assert (account.holds, account.used.get(Counter.DAY, 0), account.used.get(Counter.RUNNING, 0)) == ({}, 0, 0)


def test_a_hold_whose_write_was_not_answered_is_released(fleet: Fleet) -> None:
    quota = budget("1")
    fleet.settle(fleet.request(quota), "0")
    request = fleet.request(quota)
    fleet.store.lost_answers = 3
    with pytest.raises(AccessUnavailable):
        fleet.reserve(request, "0.4")
    fleet.settle(request, "0")
    account = fleet.account(quota)
    assert (account.holds, account.used.get(Counter.DAY, 0)) == ({}, 0)


def test_a_cost_that_was_not_reserved_is_counted_when_the_table_is_back(fleet: Fleet) -> None:
    quota = budget("1")
    request = fleet.request(quota, fails_open=True)
    fleet.store.is_down = True
    assert fleet.reserve(request, "0.5") is None
    fleet.store.is_down = False
    fleet.settle(request, "0.5")
    assert fleet.account(quota).used[Counter.DAY] == usd("0.5")


def test_a_request_that_never_fits_the_rate_of_its_key_is_not_told_to_wait(fleet: Fleet) -> None:
    quota = Quota(KEY, {Counter.TOKENS: 100})
    with pytest.raises(NotAllowed, match="about 500 tokens"):
        fleet.reserve(fleet.request(quota), "0", tokens=500)


def test_a_settlement_ends_within_a_second_where_the_table_hangs(fleet: Fleet) -> None:
    quota = budget("1")
    request = fleet.request(quota)
    fleet.reserve(request, "0.5")

    async def hang(owner: str, change: Change) -> WriteResult:
        await asyncio.Event().wait()
        raise AssertionError

    fleet.store.change = hang  # type: ignore[method-assign]  # a table that accepts requests and never answers
    fleet.settle(request, "0.1")
