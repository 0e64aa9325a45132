"""Streamed answers: failover up to the first token, the silences, every way to end, and what is known of it then."""

import asyncio
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.cancellation import run_to_completion
from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState, ChoiceDelta, Reasoning
from sekha_llm_bridge.resilience import BreakerState, Permit, Refusal
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, provider
from tests.fakes.virtual_time import run
from tests.unit.execution.stage import BILL, END, IDLE, Script, Stage, Story, token
from tests.unit.execution.test_breaker_permits import COUNTED, DOWN, RULES, UNCOUNTED, breaker, stage_of

A, B = token("a"), token("b")
LOST = errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x")
IDLE_S = 10  # the stage's timeout_secs
IN_MIDSTREAM = [failure for failure in COUNTED if failure.kind is not errors.FailureKind.CONNECT_FAILED]


def whole(*, bill: bool = True) -> Script:
    return Script(A, B, END, *([BILL] if bill else []))


def test_a_complete_answer_ends_with_its_receipt(clock: FakeClock) -> None:
    story = Stage(clock, [[Script(1.0, A, 2.0, B, END, BILL)]]).read()
    assert (story.texts, story.error, story.codes) == (["a", "b", ""], None, ["ok"])
    assert story.receipt is not None
    assert story.receipt.latency_ms == 3000
    assert story.receipt.cost == Decimal("0.002")  # 1000 in at 1 USD and 500 out at 2 USD the million


@pytest.mark.parametrize("failure", [*COUNTED, *UNCOUNTED[:4]], ids=lambda failure: failure.code)
def test_a_failure_before_the_first_token_fails_over_unseen(clock: FakeClock, failure: errors.ProviderError) -> None:
    stage = Stage(clock, [[Script(IDLE, 1.0, failure), failure], [whole()]])
    story = stage.read()
    assert (story.texts, story.error) == (["a", "b", ""], None)
    assert story.codes[0] == failure.code
    assert story.codes[-1] == "ok"


def test_a_provider_without_a_token_within_its_timeout_is_followed_by_the_next_candidate(clock: FakeClock) -> None:
    silent = Script(60.0, A)
    story = Stage(clock, [[silent], [whole()]]).read()
    assert story.codes == ["timeout", "ok"]
    assert (story.took_s, silent.is_closed) == (IDLE_S, True)


@pytest.mark.parametrize("failure", IN_MIDSTREAM, ids=lambda failure: failure.code)
@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_a_failure_after_the_first_token_ends_the_answer_and_counts_against_the_breaker(
    clock: FakeClock, failure: errors.ProviderError, tokens: int
) -> None:
    broken = Script(*[A] * tokens, failure)
    stage = stage_of(clock, [[broken], [whole()]])
    story = stage.read()
    assert story.texts == ["a"] * tokens
    assert isinstance(story.error, errors.StreamInterrupted)
    assert story.receipt is None
    assert (stage.called, broken.is_closed, story.codes) == (["p0"], True, [failure.code])
    assert breaker(stage).failure_count == 1


@pytest.mark.parametrize("failure", UNCOUNTED[:4], ids=lambda failure: failure.code)
def test_a_neutral_failure_ends_the_answer_and_does_not_count_against_the_breaker(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = stage_of(clock, [[Script(A, failure)]])
    assert isinstance(stage.read().error, errors.StreamInterrupted)
    assert breaker(stage) is None


@pytest.mark.parametrize("failure", UNCOUNTED[4:], ids=lambda failure: failure.code)
def test_a_failure_of_the_request_in_midstream_is_raised_as_it_is(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = stage_of(clock, [[Script(A, failure)], [whole()]])
    assert stage.read().error is failure
    assert stage.called == ["p0"]


def test_quota_exhausted_in_midstream_opens_the_breaker(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, errors.ProviderError(errors.FailureKind.QUOTA_EXHAUSTED, "x"))]])
    stage.read()
    assert breaker(stage).state is BreakerState.OPEN


def test_an_interrupted_answer_may_cost_up_to_its_bound(clock: FakeClock) -> None:
    report = Stage(clock, [[Script(A, errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x"))]]).read().report
    assert report.error is not None
    assert report.cost_usd is None
    assert report.cost_bound_usd is not None
    assert report.cost_bound_usd > 0
    (attempt,) = report.attempts
    assert attempt.cost_bound_usd == report.cost_bound_usd


def test_answers_that_begin_and_never_end_open_the_breaker(clock: FakeClock) -> None:
    """Their first tokens must not pass for successes in between."""
    stage = stage_of(clock, [[Script(A, LOST) for _ in range(3)], [whole()]])
    for _ in range(3):
        stage.read()
        clock.advance(2)
    assert breaker(stage).state is BreakerState.OPEN
    assert stage.read().texts == ["a", "b", ""]
    assert stage.called[-1] == "p1"


def test_only_the_end_of_an_answer_resets_the_failure_count(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, LOST), Script(A, 5.0, B, END, BILL)]])
    stage.read()
    clock.advance(2)
    counts = []

    async def counting(_chunk: AnswerChunk) -> None:
        records = await stage.store.read(["p0"])
        counts.append(records["p0"].breaker.failure_count)

    stage.read(reading=counting)
    assert (counts, breaker(stage).failure_count) == ([1, 1, 1, 1], 0)


def test_a_silence_of_the_providers_timeout_ends_the_answer(clock: FakeClock) -> None:
    story = Stage(clock, [[Script(A, 9.9, B, 60.0, A)]]).read()
    assert (story.texts, story.codes) == (["a", "b"], ["timeout"])
    assert story.took_s == pytest.approx(9.9 + IDLE_S)


def test_keep_alive_events_do_not_end_a_silence(clock: FakeClock) -> None:
    drip: list[Any] = [step for _ in range(60) for step in (3.0, IDLE)]
    stage = stage_of(clock, [[Script(A, *drip)]])
    story = stage.read()
    assert story.codes == ["timeout"]
    assert story.took_s == pytest.approx(IDLE_S)
    assert breaker(stage).failure_count == 1


def test_reasoning_ends_a_silence(clock: FakeClock) -> None:
    thought = AnswerChunk("id", 0, (ChoiceDelta(reasoning=(Reasoning("hm"),)),), is_progress=True)
    thinking: list[Any] = [step for _ in range(30) for step in (9.0, thought)]
    story = Stage(clock, [[Script(*thinking, A, END, BILL)]]).read(remaining_s=800)
    assert (story.error, story.codes) == (None, ["ok"])


def test_the_time_of_a_slow_reader_does_not_count_as_silence(clock: FakeClock) -> None:
    async def reading(_chunk: AnswerChunk) -> None:
        await asyncio.sleep(50)

    story = Stage(clock, [[Script(A, 1.0, B, 1.0, IDLE, 1.0, A, END, BILL)]]).read(remaining_s=800, reading=reading)
    assert (story.error, story.codes) == (None, ["ok"])


def test_the_deadline_ends_an_answer_and_does_not_count_against_the_provider(clock: FakeClock) -> None:
    going_on: list[Any] = [step for _ in range(50) for step in (4.0, A)]
    stage = stage_of(clock, [[Script(*going_on)]])
    story = stage.read(remaining_s=30)
    assert isinstance(story.error, errors.DeadlineExceeded)
    assert (story.texts, story.took_s) == (["a"] * 7, 30)
    assert breaker(stage) is None


def test_after_the_usage_the_end_of_the_stream_is_not_waited_for(clock: FakeClock) -> None:
    lingering = Script(A, END, BILL, 60.0)
    stage = stage_of(clock, [[Script(A, LOST), lingering]])
    stage.read()
    story = stage.read()
    assert (story.error, story.codes, story.took_s) == (None, ["ok"], 0.5)
    assert lingering.is_closed
    assert breaker(stage).failure_count == 0


def test_after_the_finish_reason_the_provider_has_its_timeout_to_send_the_usage(clock: FakeClock) -> None:
    """Who has sent one may go on: some vendors send one with every chunk."""
    story = Stage(clock, [[Script(A, END, 9.0, BILL)]]).read()
    assert (story.error, story.took_s) == (None, 9.0)
    assert story.receipt is not None
    assert story.receipt.cost == Decimal("0.002")


def test_a_provider_that_continues_after_a_finish_reason_needs_a_proper_end_of_stream(clock: FakeClock) -> None:
    again = END._replace(state=AnswerState.MAY_CONTINUE)
    story = Stage(clock, [[Script(A, END, B, again, LOST)]]).read()
    assert isinstance(story.error, errors.StreamInterrupted)
    assert Stage(clock, [[Script(A, END, B, again)]]).read().error is None


@pytest.mark.parametrize("failure", IN_MIDSTREAM, ids=lambda failure: failure.code)
def test_a_failure_after_the_last_finish_reason_loses_only_the_usage(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = stage_of(clock, [[Script(A, END, failure)]])
    story = stage.read()
    assert (story.error, story.codes) == (None, ["ok"])
    assert breaker(stage) is None


def test_an_adapter_fault_in_midstream_is_logged_and_does_not_count(clock: FakeClock, log: StringIO) -> None:
    stage = stage_of(clock, [[Script(A, KeyError("the prompt"))]])
    story = stage.read()
    assert (story.codes, breaker(stage)) == (["adapter_fault"], None)
    assert "KeyError at stage.py" in log.getvalue()
    assert "the prompt" not in log.getvalue() + str(story.error)


def test_a_client_disconnect_in_midstream_cancels_the_attempt_and_is_neutral_for_the_breaker(clock: FakeClock) -> None:
    left = Script(A, 60.0, B)
    stage = stage_of(clock, [[Script(A, LOST), left]])
    stage.read()
    story = stage.read(leaves_after_s=3)
    assert story.gone is not None
    assert (left.is_closed, story.codes, breaker(stage).failure_count) == (True, ["abandoned"], 1)
    assert story.report.cost_usd is None
    assert story.report.cost_bound_usd is not None
    assert story.report.cost_bound_usd > 0


def test_a_client_disconnect_before_the_first_token_cancels_the_attempt(clock: FakeClock) -> None:
    left = Script(60.0, A)
    stage = Stage(clock, [[DOWN], [left]])
    story = stage.read(leaves_after_s=3)
    assert (left.is_closed, story.codes) == (True, ["provider_server_error", "abandoned"])


def test_a_cancelled_attempt_costs_nothing_where_the_model_is_free(clock: FakeClock) -> None:
    free = chat_model("m0", pricing={"input_usd_per_mtok": 0, "output_usd_per_mtok": 0})
    stage = Stage(clock, [[Script(A, 60.0)]], fleet=[provider("p0", free)])
    story = stage.read(leaves_after_s=3)
    assert story.gone is not None
    assert (story.report.cost_usd, story.report.cost_bound_usd) == (Decimal(0), Decimal(0))


PROBED = CircuitBreakerConfig(failure_threshold=1, timeout_secs=60, success_threshold=1)


def opened(clock: FakeClock, *scripts: Script, rules: CircuitBreakerConfig = PROBED) -> Stage:
    """A provider whose breaker has opened and may be probed, with what its calls do from now on."""
    stage = stage_of(clock, [[DOWN, *scripts]], rules=rules)
    stage.read()
    assert breaker(stage).state is BreakerState.OPEN
    clock.advance(61)
    return stage


async def may_be_called_by_others(stage: Stage) -> bool:
    watch = await stage.instance().session()
    return isinstance(await watch.request_permit("p0", lasts_s=1), Permit)


def test_a_probe_ends_with_its_first_token(clock: FakeClock) -> None:
    stage = opened(clock, Script(1.0, A, 9.0, B, END, BILL))
    seen = []

    async def reading(_chunk: AnswerChunk) -> None:
        seen.append(await may_be_called_by_others(stage))

    story = stage.read(reading=reading)
    assert (story.codes, seen) == (["ok"], [True] * 4)
    assert breaker(stage).state is BreakerState.CLOSED


def test_until_its_first_token_a_probe_is_the_only_call(clock: FakeClock) -> None:
    stage = opened(clock, Script(5.0, A, END, BILL))

    async def scenario() -> tuple[bool, Story]:
        reading = asyncio.ensure_future(stage.story())
        await asyncio.sleep(3)
        return await may_be_called_by_others(stage), await reading

    others_may, story = run(scenario(), clock)
    assert (others_may, story.codes) == (False, ["ok"])


def test_a_failure_after_a_probes_first_token_counts_like_any_other(clock: FakeClock) -> None:
    stage = opened(clock, Script(A, LOST))
    assert stage.read().codes == ["connection_lost"]
    assert breaker(stage).state is BreakerState.OPEN


def test_a_client_disconnect_during_a_probe_gives_back_the_lease(clock: FakeClock) -> None:
    stage = opened(clock, Script(60.0, A))
    stage.read(leaves_after_s=3)

    async def asking() -> Permit | Refusal:
        watch = await stage.instance().session()
        return await watch.request_permit("p0", lasts_s=1)

    assert isinstance(run(asking(), clock), Permit)


def test_a_stream_without_any_chunk_with_content_fails_over_as_an_adapter_fault(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(IDLE)], [whole()]], rules=RULES)
    assert stage.read().codes == ["adapter_fault", "ok"]


def test_healthy_streams_write_nothing(clock: FakeClock) -> None:
    stage = stage_of(clock, [[whole(), whole(), Script(A, 60.0)]], rules=RULES)
    stage.read()
    stage.read()
    stage.read(leaves_after_s=2)
    assert breaker(stage) is None


class SlowStore(MemoryProviderStore):
    """Takes its time over every write."""

    async def add_failure(self, *args: Any) -> Any:
        await asyncio.sleep(0.1)
        return await super().add_failure(*args)

    async def replace(self, *args: Any) -> Any:
        await asyncio.sleep(0.1)
        return await super().replace(*args)


def test_a_client_disconnect_while_a_failure_is_recorded_does_not_lose_it(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, 1.0, LOST)]], store=SlowStore())
    story = stage.read(leaves_after_s=1.05)
    assert isinstance(story.gone, errors.StreamInterrupted)
    assert (story.codes, breaker(stage).failure_count) == (["connection_lost"], 1)


def test_a_client_disconnect_while_a_success_is_recorded_does_not_lose_its_cost(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, LOST), Script(A, 2.0, END, BILL)]], store=SlowStore())
    stage.read()
    story = stage.read(leaves_after_s=2.05)
    assert isinstance(story.gone, errors.ClientDisconnected)
    assert (story.codes, story.report.cost_usd) == (["ok"], Decimal("0.002"))
    assert breaker(stage).failure_count == 0


def test_a_client_disconnect_while_a_probes_failure_is_recorded_leaves_no_lease(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN, Script(1.0, DOWN)]], rules=PROBED, store=SlowStore())
    stage.read()
    clock.advance(61)
    stage.read(leaves_after_s=1.15)
    assert breaker(stage).state is BreakerState.OPEN


def test_a_client_disconnect_while_a_probes_success_is_recorded_abandons_the_answer(clock: FakeClock) -> None:
    script = Script(1.0, A, 5.0, END)
    stage = stage_of(clock, [[DOWN, script]], rules=PROBED, store=SlowStore())
    stage.read()
    clock.advance(61)
    story = stage.read(leaves_after_s=1.15)  # 0.1 s for the lease, 1 s for the token, 0.1 s for the success
    assert isinstance(story.gone, errors.ClientDisconnected)
    assert (story.codes, script.is_closed) == (["abandoned"], True)
    assert breaker(stage).state is BreakerState.CLOSED


def test_a_client_disconnect_while_a_lease_is_requested_gives_it_back(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN, whole()]], rules=PROBED, store=SlowStore())
    stage.read()
    clock.advance(61)
    stage.read(leaves_after_s=0.05)
    assert stage.called == ["p0"]
    assert stage.read().codes == ["ok"]


def test_work_that_must_complete_survives_cancellations_and_logs_its_error_without_the_message(
    clock: FakeClock, log: StringIO
) -> None:
    done = []

    async def settling() -> None:
        await asyncio.sleep(1)
        done.append("run_to_completion")
        raise ValueError("the prompt")

    async def scenario() -> None:
        waiting = asyncio.ensure_future(run_to_completion(settling()))
        for _ in range(3):
            await asyncio.sleep(0.1)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(scenario(), clock)
    assert done == ["run_to_completion"]
    assert "ValueError at" in log.getvalue()
    assert "the prompt" not in log.getvalue()


def test_an_error_on_closing_the_connection_does_not_lose_the_failure(clock: FakeClock) -> None:
    class Stuck(Script):
        async def aclose(self) -> None:
            raise RuntimeError("stuck")

    stage = stage_of(clock, [[Stuck(A, LOST)]])
    with pytest.raises(RuntimeError, match="stuck"):
        stage.read()
    assert breaker(stage).failure_count == 1
