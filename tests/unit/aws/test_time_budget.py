"""`TableTimeBudget`: one budget for several calls of the table."""

import asyncio

import pytest

from sekha_llm_bridge.aws.table_time_budget import TableTimeBudget
from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import run
from tests.fakes.waiting_clock import WaitingClock


async def answer_after(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "answer"


def test_calls_share_the_budget(clock: FakeClock) -> None:
    async def work() -> None:
        budget = TableTimeBudget(0.25, clock)
        assert await budget.wait_for(answer_after(0.1)) == "answer"
        started_s = clock.monotonic_s()
        with pytest.raises(TimeoutError):
            await budget.wait_for(answer_after(10))
        assert clock.monotonic_s() - started_s == pytest.approx(0.15)

    run(work(), clock)


@pytest.mark.parametrize(("used_s", "is_spent"), [(0.0, False), (0.14, False), (0.16, True)])
def test_the_budget_is_spent_when_less_than_100_ms_are_left(
    clock: FakeClock,
    used_s: float,
    is_spent: bool,  # noqa: FBT001 — the expected value
) -> None:
    async def work() -> None:
        budget = TableTimeBudget(0.25, clock)
        await budget.wait_for(answer_after(used_s))
        assert budget.is_spent == is_spent

    run(work(), clock)


def test_time_between_calls_does_not_count(clock: FakeClock) -> None:
    async def work() -> None:
        budget = TableTimeBudget(0.25, clock)
        clock.advance(30)
        assert await budget.wait_for(answer_after(0.2)) == "answer"

    run(work(), clock)


@pytest.mark.parametrize(("seconds", "slept_s"), [(0.1, 0.1), (0.2, 0.0)])
def test_sleep_is_skipped_if_less_than_100_ms_would_be_left_for_a_call(seconds: float, slept_s: float) -> None:
    clock = WaitingClock()

    async def work() -> None:
        started_s = clock.monotonic_s()
        await TableTimeBudget(0.25, clock).sleep(seconds)
        assert clock.monotonic_s() - started_s == pytest.approx(slept_s)

    run(work(), clock)
