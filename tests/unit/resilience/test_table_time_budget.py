"""The time that a request waits for the table, and its behaviour when that time is spent."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome
from sekha_llm_bridge.resilience import Breaker, Breakers, BreakerState, Permit, Refusal
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import run

IDS = ["a", "b", "c"]


class SlowStore(MemoryProviderStore):
    """A store whose answers take `answer_s`, the first one `first_s`."""

    def __init__(self, answer_s: float, first_s: float | None = None) -> None:
        super().__init__()
        self._answer_s = answer_s
        self._next_s = answer_s if first_s is None else first_s

    async def _delay(self) -> None:
        delay_s, self._next_s = self._next_s, self._answer_s
        await asyncio.sleep(delay_s)

    async def read(self, *args: Any) -> Any:
        await self._delay()
        return await super().read(*args)

    async def add_failure(self, *args: Any) -> Any:
        await self._delay()
        return await super().add_failure(*args)

    async def replace(self, *args: Any) -> Any:
        await self._delay()
        return await super().replace(*args)


def breakers_on(table: MemoryProviderStore, clock: FakeClock, *, threshold: int = 1) -> Breakers:
    return Breakers(table, IDS, CircuitBreakerConfig(failure_threshold=threshold), clock)


async def make_probe_of_c_due(table: MemoryProviderStore, clock: FakeClock) -> None:
    due = Breaker(BreakerState.OPEN, epoch=1, failure_count=1, retry_at=clock.now() - timedelta(seconds=1))
    await MemoryProviderStore.replace(table, "c", Breaker(), due)


@pytest.mark.parametrize("answer_s", [0.01, 0.04, 0.06, 0.1])
def test_a_request_with_a_spent_time_budget_does_not_probe_without_a_lease(clock: FakeClock, answer_s: float) -> None:
    async def work() -> None:
        table = SlowStore(answer_s)
        await make_probe_of_c_due(table, clock)
        one, other = breakers_on(table, clock), breakers_on(table, clock)
        session = await one.session()
        for name in ("a", "b"):
            permit = await session.request_permit(name, lasts_s=5)
            assert isinstance(permit, Permit)
            await session.report_outcome(permit, CallOutcome.FAILURE, cause="timeout")
        permits = [
            await session.request_permit("c", lasts_s=5),
            await (await other.session()).request_permit("c", lasts_s=5),
        ]
        leases = [permit for permit in permits if isinstance(permit, Permit)]
        found = (await MemoryProviderStore.read(table, ["c"]))["c"].breaker
        assert [permit.token for permit in leases] == [found.lease.token if found.lease else None]

    run(work(), clock)


@pytest.mark.parametrize("answer_s", [0, 0.01, 0.04, 0.06, 0.1, 0.2, 10])
def test_a_request_waits_at_most_250_ms_for_the_table_however_much_it_writes(clock: FakeClock, answer_s: float) -> None:
    async def work() -> float:
        breakers = breakers_on(SlowStore(answer_s), clock)
        started_s = clock.monotonic_s()
        session = await breakers.session()
        for name in IDS:
            permit = await session.request_permit(name, lasts_s=5)
            assert isinstance(permit, Permit)
            await session.report_outcome(permit, CallOutcome.FAILURE, cause="timeout")
        return clock.monotonic_s() - started_s

    assert run(work(), clock) <= 0.25 + 1e-6


def test_a_slow_table_does_not_count_as_unavailable(clock: FakeClock, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> bool:
        breakers = breakers_on(SlowStore(0.06), clock, threshold=9)
        session = await breakers.session()
        for name in IDS * 2:
            await session.report_outcome(await granted(session, name), CallOutcome.FAILURE, cause="timeout")
        return breakers.is_table_unavailable

    async def granted(session: Any, name: str) -> Permit:
        permit = await session.request_permit(name, lasts_s=5)
        assert isinstance(permit, Permit)
        return permit

    assert not run(work(), clock)
    assert "BreakerTableUnavailable" not in capsys.readouterr().out


def test_a_read_that_takes_longer_than_one_requests_budget_is_used_by_the_next(clock: FakeClock) -> None:
    """The first read of a new connection may. If each request started a new read, none would complete."""

    async def work() -> None:
        table = SlowStore(0.005, first_s=0.4)
        await make_probe_of_c_due(table, clock)
        breakers = breakers_on(table, clock)
        assert (await breakers.session()).views() == {}
        await asyncio.sleep(1)
        assert set((await breakers.session()).views()) == {"c"}

    run(work(), clock)


def test_a_read_that_started_before_a_freeze_is_not_waited_for(clock: FakeClock) -> None:
    async def work() -> None:
        table = SlowStore(0.005, first_s=3600)
        await make_probe_of_c_due(table, clock)
        breakers = breakers_on(table, clock)
        await breakers.session()
        clock.freeze(60)
        started_s = clock.monotonic_s()
        assert set((await breakers.session()).views()) == {"c"}
        assert clock.monotonic_s() - started_s == pytest.approx(0.005)

    run(work(), clock)


def test_a_refusal_because_of_a_spent_time_budget_has_the_breakers_state(clock: FakeClock) -> None:
    async def work() -> Any:
        table = SlowStore(0.24)
        await make_probe_of_c_due(table, clock)
        session = await breakers_on(table, clock).session()
        return await session.request_permit("c", lasts_s=5)

    assert run(work(), clock) == Refusal(BreakerState.OPEN, 0.0)
