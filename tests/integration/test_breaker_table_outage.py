"""The state table is throttled, fails, hangs or disappears during traffic: every request is answered.

How long each request takes is measured by `infra/bench/run outages`.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO

import pytest

from bridge_bench.faulty_table import FaultyTable, TableFault, faulty_table
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.jobs.health_check import check_all
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider

CHAT = "/v1/chat/completions"
FAULTS = [fault for fault in TableFault if fault is not TableFault.NONE]


class MovableClock(SystemClock):
    """The machine's clock with a date that tests move forward, so that records become old."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def move(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@pytest.fixture
def table() -> Iterator[FaultyTable]:
    with faulty_table() as table:
        yield table


@pytest.fixture
def second() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def bridge(fake: FakeProvider, second: FakeProvider, table: FaultyTable, clock: MovableClock) -> Bridge:
    first = provider("first", chat_model("a"), base_url=f"{fake.url}/v1", priority=1)
    settings = make_settings(first, provider("second", chat_model("b"), base_url=f"{second.url}/v1", priority=2))
    return make_bridge(settings, table=table.name, clock=clock)


def ask(chat: Function) -> FunctionResponse:
    return chat("POST", CHAT, {"messages": [{"role": "user", "content": "Hello"}]})


def served_by(answers: list[FunctionResponse]) -> list[str | None]:
    assert [answer.status for answer in answers] == [200] * len(answers)
    return [answer.headers.get("x-bridge-provider") for answer in answers]


@pytest.mark.parametrize("fault", FAULTS)
def test_requests_use_the_last_known_breakers_during_an_outage_which_is_logged(
    bridge: Bridge, table: FaultyTable, clock: MovableClock, fault: TableFault, log: StringIO
) -> None:
    chat = Function("chat_completions", bridge)
    assert served_by([ask(chat)]) == ["first"]
    table.set_fault(fault)
    for _ in range(3):
        clock.move(6)  # so that the table is called again
        assert served_by([ask(chat), ask(chat)]) == ["first", "first"]
    assert log.getvalue().count("state table unavailable") == 3


@pytest.mark.parametrize("fault", FAULTS)
def test_during_an_outage_an_instance_changes_only_its_own_breakers_and_uses_the_tables_afterwards(
    bridge: Bridge, fake: FakeProvider, table: FaultyTable, clock: MovableClock, fault: TableFault
) -> None:
    chat = Function("chat_completions", bridge)
    assert served_by([ask(chat)]) == ["first"]
    table.set_fault(fault)
    clock.move(2)
    fake.always(CHAT, Reply(500, {}))
    assert served_by([ask(chat) for _ in range(7)]) == ["second"] * 7
    assert len(fake.calls(CHAT)) == 1 + 5
    fake.always(CHAT, None)
    table.set_fault(TableFault.NONE)
    clock.move(6)  # the stored breaker is still closed
    assert served_by([ask(chat)]) == ["first"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_scheduled_check_returns_its_results_during_an_outage(
    bridge: Bridge, fake: FakeProvider, table: FaultyTable, fault: TableFault
) -> None:
    table.set_fault(fault)
    fake.always("/v1/models", Reply(500, {}))
    found = asyncio.run(check_all(bridge))
    assert {name: row["status"] for name, row in found.items()} == {"first": "unhealthy", "second": "healthy"}
