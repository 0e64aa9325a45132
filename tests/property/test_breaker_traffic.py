"""Heavy traffic from many instances: scattered failures keep the breaker closed, an outage opens it."""

import asyncio
import random

import pytest

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome
from sekha_llm_bridge.resilience import Breakers, BreakerState, Permit
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import run

RULES = CircuitBreakerConfig()
INSTANCES = 300


class SharedClock(FakeClock):
    """A `FakeClock` whose `sleep` lets other tasks run."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Traffic:
    """Instances that each serve one request after another. `failing` is the share of failures."""

    def __init__(self, *, failing: float, answer_s: float) -> None:
        self.clock = SharedClock()
        self.store = MemoryProviderStore()
        self.failures = self.served = 0
        self._failing = failing
        self._answer_s = answer_s
        self._random = random.Random(7)  # noqa: S311 — the same traffic in every run

    def serve_for(self, seconds: float) -> BreakerState:
        """Serves requests for that long. Returns the state of the breaker afterwards."""
        run(self._serve(self.clock.monotonic_s() + seconds), self.clock)
        records = asyncio.run(self.store.read(["p"]))
        return records["p"].breaker.state if records else BreakerState.CLOSED

    async def _serve(self, ends_s: float) -> None:
        async with asyncio.TaskGroup() as instances:
            for _ in range(INSTANCES):
                instances.create_task(self._instance(ends_s))

    async def _instance(self, ends_s: float) -> None:
        breakers = Breakers(self.store, ["p"], RULES, self.clock)
        await asyncio.sleep(self._random.uniform(0, 1 + self._answer_s))
        while self.clock.monotonic_s() < ends_s:
            session = await breakers.session()
            permit = await session.request_permit("p", lasts_s=30)
            await asyncio.sleep(self._answer_s * self._random.uniform(0.5, 1.5))
            if isinstance(permit, Permit):
                fails = self._random.random() < self._failing
                self.served += 1
                self.failures += fails
                await session.report_outcome(
                    permit, CallOutcome.FAILURE if fails else CallOutcome.SUCCESS, cause="timeout"
                )


@pytest.mark.parametrize("answer_s", [0.1, 1, 10])
def test_one_failure_in_twenty_does_not_open_the_breaker_under_heavy_traffic(answer_s: float) -> None:
    traffic = Traffic(failing=0.05, answer_s=answer_s)
    assert traffic.serve_for(4 + 6 * answer_s) is BreakerState.CLOSED
    assert traffic.failures >= 10 * RULES.failure_threshold


def test_an_outage_opens_the_breaker_before_every_instance_has_failed_twice() -> None:
    traffic = Traffic(failing=1, answer_s=0.2)
    assert traffic.serve_for(1) is BreakerState.OPEN
    assert traffic.served < 2 * INSTANCES
