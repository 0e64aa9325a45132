"""The executor and the breakers: who is asked for leave, and what is reported."""

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome
from sekha_llm_bridge.resilience import BreakerState, CheckResult, Permit, PermitSource
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, make_settings, provider
from tests.fakes.virtual_time import run
from tests.unit.execution.stage import OK, Stage

DOWN = errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x")
COUNTED = [
    errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"),
    errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x"),
    errors.ProviderError(errors.FailureKind.TIMEOUT, "x"),
    errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x"),
    errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x"),
]
UNCOUNTED = [
    errors.ProviderError(errors.FailureKind.ADAPTER_FAULT, "x"),
    errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"),
    errors.ProviderError(errors.FailureKind.MODEL_MISSING, "x"),
    errors.ProviderError(errors.FailureKind.OUTPUT_CAP_REFUSED, "x"),
    errors.ProviderError(errors.FailureKind.CONTEXT_LENGTH_EXCEEDED, "x"),
    errors.ProviderError(errors.FailureKind.REQUEST_REJECTED, "x"),
    errors.ProviderError(errors.FailureKind.CONTENT_REFUSED, "x"),
]
RULES = CircuitBreakerConfig(failure_threshold=3, timeout_secs=60, success_threshold=2)


class CountingStore(MemoryProviderStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = 0

    async def read(self, *args: Any) -> Any:
        self.reads += 1
        return await super().read(*args)

    async def add_failure(self, *args: Any) -> Any:
        self.writes += 1
        return await super().add_failure(*args)

    async def replace(self, *args: Any) -> Any:
        self.writes += 1
        return await super().replace(*args)


def stage_of(clock: FakeClock, outcomes: list[list[Any]], **fields: Any) -> Stage:
    return Stage(clock, outcomes, **{"rules": RULES, **fields})


def breaker(stage: Stage, provider_id: str = "p0") -> Any:
    records = asyncio.run(stage.store.read([provider_id]))
    return records[provider_id].breaker if provider_id in records else None


@pytest.mark.parametrize("failure", COUNTED, ids=lambda failure: failure.code)
def test_consecutive_failures_open_the_breaker_and_end_the_calls(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = stage_of(clock, [[failure] * 9, [OK] * 9])
    for _ in range(3):
        stage.run_plan()
        clock.advance(1)
    calls = stage.called.count("p0")
    assert breaker(stage).state is BreakerState.OPEN
    assert breaker(stage).cause == failure.code
    stage.run_plan()
    assert stage.called.count("p0") == calls


@pytest.mark.parametrize("failure", UNCOUNTED, ids=lambda failure: failure.code)
def test_a_neutral_failure_is_not_counted(clock: FakeClock, failure: errors.ProviderError) -> None:
    stage = stage_of(clock, [[failure] * 4, [OK] * 4])
    for _ in range(4):
        with contextlib.suppress(
            errors.ProviderError, errors.ContextLengthExceeded
        ):  # the caller's own fault is raised
            stage.run_plan()
    assert stage.called.count("p0") == 4
    assert breaker(stage) is None


def test_a_retried_connection_is_one_failure(clock: FakeClock) -> None:
    refused = errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x")
    stage = stage_of(clock, [[refused, refused], [OK]])
    stage.run_plan()
    assert stage.called == ["p0", "p0", "p1"]
    assert breaker(stage).failure_count == 1


def test_a_success_in_between_resets_the_count(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN, DOWN, OK, DOWN, DOWN, OK], [OK] * 4])
    for _ in range(6):
        stage.run_plan()
    assert stage.called.count("p0") == 6
    assert breaker(stage).state is BreakerState.CLOSED


def test_a_slow_success_resets_what_other_instances_counted_meanwhile(clock: FakeClock) -> None:
    """Or one failure in a hundred would add up to a row, wherever there is much traffic."""

    async def slow(_candidate: Any) -> Any:
        await asyncio.sleep(2)
        return OK

    async def fails_elsewhere(_candidate: Any) -> Any:
        watch = await stage.instance().session()
        await watch.report_outcome(Permit("p0", PermitSource.REQUEST, epoch=0), CallOutcome.FAILURE, cause="timeout")
        return await slow(_candidate)

    stage = stage_of(clock, [[fails_elsewhere] * 5])
    for _ in range(5):
        stage.run_plan()
    assert (breaker(stage).state, breaker(stage).failure_count) == (BreakerState.CLOSED, 0)


def test_requests_that_succeed_write_nothing_and_read_once_a_second(clock: FakeClock) -> None:
    store = CountingStore()
    stage = stage_of(clock, [[OK] * 40], store=store)
    for _ in range(40):
        stage.run_plan()
        clock.advance(0.25)
    assert (store.reads, store.writes) == (10, 0)


def test_a_request_that_takes_long_reads_when_it_begins_and_when_it_ends(clock: FakeClock) -> None:
    async def slow(_candidate: Any) -> Any:
        await asyncio.sleep(5)
        return OK

    store = CountingStore()
    stage = stage_of(clock, [[slow] * 3], store=store)
    for _ in range(3):  # the second begins at once, and takes the first one's last look for its own
        stage.run_plan()
    assert (store.reads, store.writes) == (4, 0)


def test_after_its_time_one_request_probes_and_two_successes_close_it(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN, DOWN, DOWN, OK, OK, OK], [OK] * 5])
    for _ in range(4):
        stage.run_plan()
    clock.advance(60)
    for state in (BreakerState.HALF_OPEN, BreakerState.CLOSED):
        assert stage.run_plan().receipt.provider_id == "p0"
        assert breaker(stage).state is state


def test_a_probe_that_fails_opens_it_again_and_the_next_candidate_answers(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN] * 4, [OK] * 6])
    for _ in range(3):
        stage.run_plan()
    clock.advance(60)
    receipt = stage.run_plan().receipt
    assert [(tried.provider_id, tried.code) for tried in receipt.attempts] == [
        ("p0", "provider_server_error"),
        ("p1", "ok"),
    ]
    assert breaker(stage).state is BreakerState.OPEN
    assert breaker(stage).retry_at == clock.now() + timedelta(seconds=60)


def test_a_neutral_probe_gives_its_lease_back(clock: FakeClock) -> None:
    stage = stage_of(
        clock, [[DOWN, DOWN, DOWN, errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"), OK], [OK] * 5]
    )
    for _ in range(3):
        stage.run_plan()
    clock.advance(60)
    stage.run_plan()
    assert (breaker(stage).state, breaker(stage).lease) == (BreakerState.HALF_OPEN, None)
    assert stage.run_plan().receipt.provider_id == "p0"


def other_takes_the_lease(stage: Stage) -> None:
    async def take() -> None:
        watch = await stage.instance().session()
        await watch.request_permit("p0", lasts_s=5)

    run(take(), stage.clock)


def opened(clock: FakeClock, outcomes: list[list[Any]]) -> Stage:
    """The first provider's breaker has been opened, its time is up, and this instance has just read so."""
    stage = stage_of(clock, outcomes)
    for _ in range(3):
        try:
            stage.run_plan()
        except errors.AllProvidersFailed:
            continue
    clock.advance(60)
    run(stage.breakers.session(), clock)
    return stage


def test_a_request_that_loses_the_race_for_the_probe_tries_the_next_candidate(
    clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = opened(clock, [[DOWN] * 3, [OK] * 4])
    other_takes_the_lease(stage)
    capsys.readouterr()
    outcome = stage.run_plan()
    assert [tried.provider_id for tried in outcome.receipt.attempts] == ["p1"]
    assert stage.called.count("p0") == 3
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["BreakerRejections"], line["provider"]) == ([1.0], "p0")


def test_a_request_that_loses_the_race_may_use_another_candidate_even_without_fallback(clock: FakeClock) -> None:
    stage = opened(clock, [[DOWN] * 3, [OK] * 4])
    other_takes_the_lease(stage)
    assert stage.run_plan(allow_fallback=False).receipt.provider_id == "p1"


def test_after_a_lost_race_without_other_candidates_the_error_says_when_the_probe_ends(clock: FakeClock) -> None:
    stage = opened(clock, [[DOWN] * 3])
    other_takes_the_lease(stage)
    with pytest.raises(errors.NoProviderAvailable, match="another instance is probing it") as caught:
        stage.run_plan()
    assert caught.value.retry_after_s == pytest.approx(7)
    assert stage.log.attempts == []


def test_an_error_names_the_models_that_a_breaker_excluded(clock: FakeClock) -> None:
    stage = opened(clock, [[DOWN] * 3, [OK, OK, OK, DOWN]])
    other_takes_the_lease(stage)
    with pytest.raises(errors.AllProvidersFailed, match=r"not tried: p0/m0: .* another instance is probing it"):
        stage.run_plan()


def test_while_checks_probe_a_provider_requests_try_it_last(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN, DOWN, DOWN, OK], [OK, OK, OK, OK, DOWN]])
    for _ in range(3):
        stage.run_plan()
    clock.advance(60)
    asyncio.run(
        stage.store.record_check(
            CheckResult("p0", is_healthy=False, latency_ms=None, checked_at=clock.now(), error="timeout")
        )
    )
    clock.advance(1)
    assert [tried.provider_id for tried in stage.run_plan().receipt.attempts] == ["p1"]
    attempts = stage.run_plan().receipt.attempts
    assert [(tried.provider_id, tried.code) for tried in attempts] == [("p1", "provider_server_error"), ("p0", "ok")]


def test_a_probing_request_holds_the_lease_as_long_as_it_may_take(clock: FakeClock) -> None:
    async def slow(_candidate: Any) -> Any:
        await asyncio.sleep(9)
        watch = await stage.instance().session()
        refused.append(await watch.request_permit("p0", lasts_s=1))
        return OK

    refused: list[Any] = []
    stage = opened(clock, [[DOWN, DOWN, DOWN, slow], [OK] * 4])
    assert stage.run_plan().receipt.provider_id == "p0"
    assert refused[0].state is BreakerState.HALF_OPEN


def test_failures_of_the_whole_fleet_count_together(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN] * 9, [OK] * 9])
    for _ in range(3):
        stage.breakers = stage.instance()
        stage.run_plan()
    assert breaker(stage).state is BreakerState.OPEN
    stage.breakers = stage.instance()
    stage.run_plan()
    assert stage.called.count("p0") == 3


def test_a_late_failure_of_another_instance_changes_nothing_newer(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN] * 3 + [OK, OK], [OK] * 9])

    async def permit() -> Any:
        watch = await stage.instance().session()
        return watch, await watch.request_permit("p0", lasts_s=5, source=PermitSource.REQUEST)

    watch, held = run(permit(), clock)
    for _ in range(3):
        stage.run_plan()
    clock.advance(60)
    stage.run_plan()
    stage.run_plan()
    before = breaker(stage)
    assert before.state is BreakerState.CLOSED
    run(watch.report_outcome(held, CallOutcome.FAILURE, cause="timeout"), clock)
    assert breaker(stage) == before


async def _hangs(_candidate: Any) -> Any:
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    "slow", [_hangs, errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x")], ids=["hangs", "refuses at once"]
)
def test_a_timeout_for_lack_of_remaining_time_does_not_count(clock: FakeClock, slow: Any) -> None:
    fleet = [
        provider(f"p{i}", chat_model(f"m{i}"), priority=i + 1, timeout_secs=120, base_url="http://x/v1")
        for i in range(2)
    ]
    stage = stage_of(clock, [[_hangs] * 9, [slow] * 9], fleet=fleet)
    stage.configs[0]["timeout_secs"] = 27
    stage.settings = make_settings(*stage.configs)
    for _ in range(3):
        with pytest.raises(errors.BridgeError):
            stage.run_plan(remaining_s=28)
    assert stage.called.count("p1") >= 3
    assert breaker(stage, "p0").state is BreakerState.OPEN
    if slow is _hangs:  # one second is no time
        assert breaker(stage, "p1") is None
    else:
        assert breaker(stage, "p1").state is BreakerState.OPEN


def test_one_request_is_one_failure_of_a_provider_however_many_of_its_models_it_tries(clock: FakeClock) -> None:
    """One input that makes a provider fail must not take it from everybody else."""
    models = [chat_model(f"m{i}") for i in range(5)]
    stage = stage_of(clock, [[DOWN] * 5], fleet=[provider("p0", *models, base_url="http://x/v1")])
    with pytest.raises(errors.AllProvidersFailed):
        stage.run_plan()
    assert stage.called == ["p0"] * 5
    assert (breaker(stage).state, breaker(stage).failure_count) == (BreakerState.CLOSED, 1)


def test_a_provider_whose_breaker_refuses_is_not_asked_again_for_its_other_models(
    clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    many = provider("p0", *[chat_model(f"m{i}") for i in range(4)], priority=1, base_url="http://x/v1", api_key="old")
    fleet = [many, provider("p1", chat_model("n"), priority=2, base_url="http://x/v1")]
    stage = stage_of(
        clock, [[errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x")], [OK, OK]], fleet=fleet
    )
    stage.run_plan()
    clock.advance(60)
    run(stage.breakers.session(), clock)
    other_takes_the_lease(stage)
    capsys.readouterr()
    assert stage.run_plan().receipt.provider_id == "p1"
    assert capsys.readouterr().out.count('"BreakerRejections":[1.0]') == 1


def test_a_late_failover_uses_the_breakers_of_that_time(clock: FakeClock) -> None:
    async def fails_slowly(_candidate: Any) -> Any:
        await asyncio.sleep(9)
        watch = await stage.instance().session()
        await watch.report_outcome(
            Permit("p1", PermitSource.REQUEST, epoch=0), CallOutcome.REJECTION, cause="quota_exhausted"
        )
        await asyncio.sleep(1)
        raise DOWN

    stage = stage_of(clock, [[fails_slowly], [OK], [OK]])
    assert stage.run_plan().receipt.provider_id == "p2"
    assert stage.called == ["p0", "p2"]
