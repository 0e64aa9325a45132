"""The scheduled check: what it finds, what the breakers learn from it, and what health then says."""

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.jobs.handler import Invocation
from sekha_llm_bridge.jobs.health_check import check_all, make_job
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breaker, BreakerState, CheckResult, Permit, StoreUnavailable
from sekha_llm_bridge.resilience.breaker import CheckTrust
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider

CHAT, LIST = "/v1/chat/completions", "/v1/models"
RULES = {"failure_threshold": 3, "timeout_secs": 60, "success_threshold": 2}
DOWN = Reply(500, {})


@pytest.fixture
def other() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@dataclass
class Fleet:
    """Two providers, p before q. Whatever is done is done by another instance, which knows what the store says."""

    fake: FakeProvider
    other: FakeProvider
    clock: FakeClock
    store: MemoryProviderStore = field(default_factory=MemoryProviderStore)

    def instance(self) -> Bridge:
        first = provider("p", chat_model("a"), base_url=f"{self.fake.url}/v1", priority=1)
        second = provider("q", chat_model("b"), base_url=f"{self.other.url}/v1", priority=2)
        settings = make_settings(first, second, routing={"circuit_breaker": RULES})
        return make_bridge(settings, store=self.store, clock=self.clock)

    def check(self) -> Any:
        return checked(self.instance())

    def chat(self) -> str:
        """Who answered."""
        chat = Function("chat_completions", self.instance())
        answer = chat("POST", CHAT, {"messages": [{"role": "user", "content": "Hi"}]})
        assert answer.status == 200, answer.text
        return answer.headers["x-bridge-provider"]

    def health(self) -> Any:
        return Function("health", self.instance())("GET", "/api/v1/health")

    def row(self, provider_id: str = "p") -> Any:
        return self.health().json()["providers"][provider_id]

    @property
    def breaker(self) -> Breaker:
        """That of p."""
        return asyncio.run(self.store.read(["p"]))["p"].breaker

    def open_by_requests(self) -> None:
        """p fails its chats until its breaker opens; then it would answer again."""
        self.fake.always(CHAT, DOWN)
        assert [self.chat() for _ in range(3)] == ["q"] * 3
        self.fake.always(CHAT, None)


def checked(bridge: Bridge) -> Any:
    """What a scheduled check by this instance finds."""
    return asyncio.run(check_all(bridge))


@pytest.fixture
def fleet(fake: FakeProvider, other: FakeProvider, clock: FakeClock) -> Fleet:
    return Fleet(fake, other, clock)


def test_a_provider_that_is_back_is_closed_again_in_one_check_without_any_request(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock
) -> None:
    fleet.open_by_requests()
    asked = len(fake.calls(CHAT))
    clock.advance(60)
    fleet.check()
    assert fleet.breaker.state is BreakerState.CLOSED
    assert (len(fake.calls(LIST)), len(fake.calls(CHAT))) == (2, asked)
    clock.advance(1)
    assert fleet.chat() == "p"


def test_before_its_time_a_check_says_how_the_provider_is_and_leaves_the_breaker_alone(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock
) -> None:
    fleet.open_by_requests()
    before = fleet.breaker
    clock.advance(30)
    assert fleet.check()["p"]["status"] == "healthy"
    assert fleet.breaker == before
    assert clock.now() - before.retry_at == -timedelta(seconds=30)  # type: ignore[operator]  # it is open, so there is one


def test_a_check_waits_for_a_probe_that_is_due_soon(fleet: Fleet, fake: FakeProvider, clock: FakeClock) -> None:
    fleet.open_by_requests()
    clock.advance(52)
    fleet.check()
    assert fleet.breaker.state is BreakerState.CLOSED


def test_a_probe_that_fails_opens_the_breaker_for_another_while(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock
) -> None:
    fleet.open_by_requests()
    clock.advance(60)
    fake.always(LIST, DOWN)
    fleet.check()
    found = fleet.breaker
    assert (found.state, found.retry_at, found.failure_count) == (
        BreakerState.OPEN,
        clock.now() + timedelta(seconds=60),
        4,
    )
    assert len(fake.calls(LIST)) == 1


def test_failing_checks_open_the_breaker_before_any_request_meets_with_it(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock
) -> None:
    fake.always(LIST, DOWN)
    for _ in range(3):
        fleet.check()
        clock.advance(60)
    assert fleet.breaker.state is BreakerState.OPEN
    clock.advance(-1)
    assert fleet.chat() == "q"
    assert fake.calls(CHAT) == []


def test_a_working_model_list_does_not_hide_failing_chats(fleet: Fleet, fake: FakeProvider, clock: FakeClock) -> None:
    fake.always(CHAT, DOWN)
    for _ in range(3):
        fleet.chat()
        fleet.check()
        clock.advance(60)
    assert fleet.breaker.state is BreakerState.OPEN


def test_where_chats_fail_again_though_the_models_are_listed_only_a_request_closes_the_breaker(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock
) -> None:
    fleet.open_by_requests()
    clock.advance(60)
    fleet.check()
    clock.advance(1)
    fleet.open_by_requests()
    assert fleet.breaker.check_trust is CheckTrust.DISTRUSTED
    clock.advance(60)
    fleet.check()
    fleet.check()
    assert fleet.breaker.state is BreakerState.HALF_OPEN
    clock.advance(1)
    assert fleet.chat() == "p"  # in its usual place, because the checks cannot find out
    assert (fleet.breaker.state, fleet.breaker.check_trust) == (BreakerState.CLOSED, CheckTrust.TRUSTED)


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_rejected_check_is_neutral(fleet: Fleet, fake: FakeProvider, clock: FakeClock, status: int) -> None:
    fake.always(LIST, Reply(status, {}))
    for _ in range(4):
        fleet.check()
        clock.advance(60)
    assert fleet.breaker == Breaker()
    fleet.check()
    row = fleet.row()
    assert row["status"] == "degraded"
    assert row["error"] in {"access_denied", "credentials_rejected", "quota_exhausted", "rate_limited"}
    assert fleet.chat() == "p"
    fleet.open_by_requests()
    clock.advance(60)
    fleet.check()
    clock.advance(1)
    assert fleet.chat() == "p"  # no check can find out that it is back, so a request does


def test_two_instances_never_probe_at_the_same_time(fleet: Fleet, clock: FakeClock) -> None:
    fleet.open_by_requests()
    clock.advance(60)

    async def probe() -> Any:
        watch = await fleet.instance().breakers.session()
        return await watch.request_permit("p", lasts_s=5)

    assert isinstance(asyncio.run(probe()), Permit)
    held = fleet.breaker
    fleet.check()
    assert fleet.breaker == held


def test_a_hanging_provider_does_not_delay_other_checks(
    fake: FakeProvider, other: FakeProvider, clock: FakeClock
) -> None:
    recorded = []

    class Watching(MemoryProviderStore):
        async def record_check(self, result: CheckResult) -> None:
            recorded.append((result.provider_id, hanging.client_disconnected.is_set()))
            await super().record_check(result)

    hanging = Reply(hang=True)
    fake.script(LIST, hanging)
    found = Fleet(fake, other, clock, Watching()).check()
    assert {name: (row["status"], row["error"]) for name, row in found.items()} == {
        "p": ("unhealthy", "timeout"),
        "q": ("healthy", None),
    }
    assert recorded[0] == ("q", False)  # while the other still hung


def test_the_check_retries_with_a_rotated_key(fake: FakeProvider, clock: FakeClock) -> None:
    old, new = (
        make_settings(provider("p", chat_model("a"), base_url=f"{fake.url}/v1", api_key=key)) for key in ("old", "new")
    )
    directory = ProviderDirectory(old.providers, JsonHttp(clock), clock, lambda _: new.providers[0])
    fake.script(LIST, Reply(401, {}))
    assert checked(replace(make_bridge(old, clock=clock), providers=directory))["p"]["status"] == "healthy"
    assert [call.headers["authorization"] for call in fake.calls(LIST)] == ["Bearer old", "Bearer new"]


def gauges(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    return {name: line[name][0] for line in lines for name in ("HealthyProviders", "OpenBreakers") if name in line}


def test_every_check_writes_the_gauges_of_healthy_providers_and_open_breakers(
    fleet: Fleet, fake: FakeProvider, other: FakeProvider, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.check()
    assert gauges(capsys) == {"HealthyProviders": 2, "OpenBreakers": 0}
    fleet.open_by_requests()
    fake.always(LIST, DOWN)
    clock.advance(1)
    fleet.check()
    assert gauges(capsys) == {"HealthyProviders": 1, "OpenBreakers": 1}
    other.always(LIST, DOWN)
    fleet.check()
    assert gauges(capsys) == {"HealthyProviders": 0, "OpenBreakers": 1}


def test_a_breaker_that_the_check_itself_closes_counts_as_open(
    fleet: Fleet, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.open_by_requests()
    clock.advance(60)
    fleet.check()
    assert (fleet.breaker.state, gauges(capsys)["OpenBreakers"]) == (BreakerState.CLOSED, 1)


@dataclass(frozen=True)
class Timed:
    """The context of an invocation with half a minute left."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


@pytest.mark.parametrize(("event", "written"), [({"gauges": True}, 2), ({"gauges": False}, 0), ({}, 0), (None, 0)])
def test_the_function_writes_the_gauges_only_where_its_event_asks_for_them(
    fleet: Fleet, event: object, written: int, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(make_job()(fleet.instance(), Invocation(event, Timed())))
    assert len(gauges(capsys)) == written


def test_the_function_logs_a_check_only_where_it_differs_from_the_last_one(
    fleet: Fleet, other: FakeProvider, log: StringIO
) -> None:
    async def counted() -> list[int]:
        job, bridge, counts = make_job(), fleet.instance(), []
        for answer in (None, None, DOWN, DOWN, None):
            other.always(LIST, answer)
            await job(bridge, Invocation({}, Timed()))
            counts.append(log.getvalue().count('"health check"'))
        return counts

    assert asyncio.run(counted()) == [1, 1, 2, 2, 3]


class Lost(MemoryProviderStore):
    """A store that does not answer at all."""

    async def read(self, *_: Any) -> Any:
        raise StoreUnavailable("gone")

    async def replace(self, *_: Any) -> Any:
        raise StoreUnavailable("gone")

    async def add_failure(self, *_: Any) -> Any:
        raise StoreUnavailable("gone")

    async def record_check(self, *_: Any) -> Any:
        raise StoreUnavailable("gone")


def test_without_the_table_health_notes_it_and_the_check_still_runs(
    fake: FakeProvider, other: FakeProvider, clock: FakeClock
) -> None:
    lost = Fleet(fake, other, clock, Lost())
    assert {row["status"] for row in lost.check().values()} == {"healthy"}
    answer = lost.health()
    body = answer.json()
    assert (answer.status, body["status"]) == (200, "degraded")
    assert {row["status"] for row in body["providers"].values()} == {"unknown"}
    assert body["notes"] == ["the table of the breakers did not answer: this is what was last known"]


def test_health_shows_an_open_breaker_with_its_count_cause_and_times(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock
) -> None:
    fleet.open_by_requests()
    answer = fleet.health()
    body = answer.json()
    assert (answer.status, body["status"], body["providers"]["p"]["status"]) == (200, "degraded", "unhealthy")
    shown = body["providers"]["p"]["circuit_breaker"]
    assert shown == {
        "state": "open",
        "failure_count": 3,
        "last_failure": (clock.now() - timedelta(seconds=0.1)).isoformat(),  # before a last look at the count
        "cause": "provider_server_error",
        "retry_at": (clock.now() + timedelta(seconds=60)).isoformat(),
    }
    assert datetime.fromisoformat(shown["last_failure"]).utcoffset() == timedelta()


def test_health_reads_the_table_again_however_recently_it_was_read(fleet: Fleet) -> None:
    health = Function("health", fleet.instance())
    assert health("GET", "/api/v1/health").json()["providers"]["p"]["circuit_breaker"]["state"] == "closed"
    asyncio.run(fleet.store.replace("p", Breaker(), Breaker(BreakerState.OPEN, epoch=1, failure_count=3)))
    asyncio.set_event_loop(asyncio.new_event_loop())
    assert health("GET", "/api/v1/health").json()["providers"]["p"]["circuit_breaker"]["state"] == "open"


def test_a_half_open_breaker_is_degraded_and_an_old_check_is_unknown(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock
) -> None:
    fleet.check()
    clock.advance(149)
    assert fleet.row("q")["status"] == "healthy"
    clock.advance(1)
    row = fleet.row("q")
    assert (row["status"], row["latency_ms"]) == ("unknown", None)
    assert row["last_checked"] is not None
    fleet.open_by_requests()
    clock.advance(60)
    fake.always(CHAT, Reply(429, {}))
    fleet.chat()
    assert fleet.breaker.state is BreakerState.HALF_OPEN
    assert fleet.row()["status"] == "degraded"


def test_the_function_itself_never_fails_because_a_provider_does(fake: FakeProvider, clock: FakeClock) -> None:
    with socket.socket() as unused:  # bound and not listening: it refuses
        unused.bind(("127.0.0.1", 0))
        settings = make_settings(
            provider("p", chat_model("a"), base_url=f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        )
        found = checked(make_bridge(settings, clock=clock))
    assert found == {"p": {"status": "unhealthy", "latency_ms": None, "error": "connect_failed"}}


ANSWERS = {
    "a bare array": Reply(raw=b"[]"),
    "a page": Reply(raw=b"<html></html>", headers={"content-type": "text/html"}),
    "no such path": Reply(404, {}),
    "another method": Reply(405, {}),
    "gone": Reply(410, {}),
    "not implemented": Reply(501, {}),
    "a bad request": Reply(400, {}),
}


@pytest.mark.parametrize("reply", ANSWERS.values(), ids=ANSWERS)
def test_a_provider_that_answers_without_a_model_list_is_healthy(
    fleet: Fleet, fake: FakeProvider, clock: FakeClock, reply: Reply
) -> None:
    fake.always(LIST, reply)
    for _ in range(4):
        assert fleet.check()["p"]["status"] == "healthy"
        clock.advance(60)
    fleet.check()
    assert (fleet.breaker, fleet.row()["status"]) == (Breaker(), "healthy")


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529])
def test_a_server_with_a_failing_status_is_unhealthy(fleet: Fleet, fake: FakeProvider, status: int) -> None:
    fake.always(LIST, Reply(status, {}))
    assert fleet.check()["p"]["status"] == "unhealthy"
    assert fleet.breaker.failure_count == 1


def test_a_failing_model_list_of_a_working_provider_is_ignored_after_two_requests(
    fleet: Fleet, fake: FakeProvider, other: FakeProvider, clock: FakeClock
) -> None:
    fake.always(LIST, DOWN)
    other.always(LIST, DOWN)
    other.always(CHAT, DOWN)
    for _ in range(3):
        fleet.check()
        clock.advance(60)
    fleet.check()
    assert fleet.row()["circuit_breaker"]["state"] == "open"
    clock.advance(1)
    assert [fleet.chat(), fleet.chat()] == ["p", "p"]  # no request waits for a check
    assert (fleet.breaker.state, fleet.breaker.check_trust) == (BreakerState.CLOSED, CheckTrust.DISTRUSTED)
    for _ in range(4):
        fleet.check()
        clock.advance(60)
    assert fleet.row()["circuit_breaker"]["state"] == "closed"
    fake.always(LIST, None)
    fleet.check()
    assert fleet.breaker.check_trust is CheckTrust.TRUSTED


def test_without_recent_checks_health_notes_it(fleet: Fleet, clock: FakeClock) -> None:
    assert fleet.health().json()["status"] == "healthy"  # nothing is known yet
    fleet.check()
    clock.advance(151)
    body = fleet.health().json()
    assert (body["status"], body["notes"]) == ("degraded", ["the scheduled check has not run for minutes"])


def test_an_unexpected_error_in_one_check_does_not_affect_the_others(
    fake: FakeProvider, other: FakeProvider, clock: FakeClock, log: StringIO
) -> None:
    class Odd(MemoryProviderStore):
        async def record_check(self, result: CheckResult) -> None:
            if result.provider_id == "p":
                raise ZeroDivisionError
            await super().record_check(result)

    assert set(Fleet(fake, other, clock, Odd()).check()) == {"q"}
    assert "unexpected error in a check" in log.getvalue()
