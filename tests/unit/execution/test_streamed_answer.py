"""Streamed answers: failover up to the first token, the silences, every way to end, and what is known of it then."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.execution.provider_call import run_to_completion
from sekha_llm_bridge.providers import AnswerState, ChatChunk
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


def test_a_whole_answer_ends_with_its_receipt(clock: FakeClock) -> None:
    story = Stage(clock, [[Script(1.0, A, 2.0, B, END, BILL)]]).read()
    assert (story.texts, story.error, story.codes) == (["a", "b", ""], None, ["ok"])
    assert story.receipt is not None
    assert story.receipt.latency_ms == 3000
    assert story.receipt.cost == Decimal("0.002")  # 1000 in at 1 USD and 500 out at 2 USD the million


@pytest.mark.parametrize("failure", [*COUNTED, *UNCOUNTED[:4]], ids=lambda failure: failure.code)
def test_whatever_fails_before_the_first_token_is_followed_by_the_next_and_never_seen(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = Stage(clock, [[Script(IDLE, 1.0, failure), failure], [whole()]])
    story = stage.read()
    assert (story.texts, story.error) == (["a", "b", ""], None)
    assert story.codes[0] == failure.code
    assert story.codes[-1] == "ok"


def test_who_has_no_token_within_its_timeout_is_followed_by_the_next(clock: FakeClock) -> None:
    silent = Script(60.0, A)
    story = Stage(clock, [[silent], [whole()]]).read()
    assert story.codes == ["timeout", "ok"]
    assert (story.took_s, silent.is_closed) == (IDLE_S, True)


@pytest.mark.parametrize("failure", IN_MIDSTREAM, ids=lambda failure: failure.code)
@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_after_the_first_token_a_failure_ends_the_answer_and_counts(
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
def test_what_says_nothing_of_the_provider_ends_the_answer_and_does_not_count(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = stage_of(clock, [[Script(A, failure)]])
    assert isinstance(stage.read().error, errors.StreamInterrupted)
    assert breaker(stage) is None


@pytest.mark.parametrize("failure", UNCOUNTED[4:], ids=lambda failure: failure.code)
def test_a_fault_of_the_request_in_midstream_is_told_as_what_it_is(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = stage_of(clock, [[Script(A, failure)], [whole()]])
    assert stage.read().error is failure
    assert stage.called == ["p0"]


def test_an_account_that_runs_empty_in_midstream_opens_the_breaker(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, errors.ProviderError(errors.FailureKind.QUOTA_EXHAUSTED, "x"))]])
    stage.read()
    assert breaker(stage).state is BreakerState.OPEN


def test_what_broke_off_may_cost_as_much_as_it_was_allowed_to(clock: FakeClock) -> None:
    report = Stage(clock, [[Script(A, errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x"))]]).read().report
    assert report.error is not None
    assert report.cost_usd is None
    assert report.cost_bound_usd is not None
    assert report.cost_bound_usd > 0
    (attempt,) = report.attempts
    assert attempt.cost_bound_usd == report.cost_bound_usd


def test_answers_that_begin_well_and_never_end_open_the_breaker(clock: FakeClock) -> None:
    """Their first tokens must not pass for successes in between."""
    stage = stage_of(clock, [[Script(A, LOST) for _ in range(3)], [whole()]])
    for _ in range(3):
        stage.read()
        clock.advance(2)
    assert breaker(stage).state is BreakerState.OPEN
    assert stage.read().texts == ["a", "b", ""]
    assert stage.called[-1] == "p1"


def test_the_count_is_reset_by_the_end_of_an_answer_and_not_before(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, LOST), Script(A, 5.0, B, END, BILL)]])
    stage.read()
    clock.advance(2)
    counts = []

    async def counting(_chunk: ChatChunk) -> None:
        records = await stage.store.read(["p0"])
        counts.append(records["p0"].breaker.failure_count)

    stage.read(reading=counting)
    assert (counts, breaker(stage).failure_count) == ([1, 1, 1, 1], 0)


def test_a_silence_ends_the_answer_when_it_has_lasted_as_long_as_the_provider_may_be_silent(clock: FakeClock) -> None:
    story = Stage(clock, [[Script(A, 9.9, B, 60.0, A)]]).read()
    assert (story.texts, story.codes) == (["a", "b"], ["timeout"])
    assert story.took_s == pytest.approx(9.9 + IDLE_S)


def test_a_drip_of_what_brings_nothing_on_does_not_pass_for_an_answer(clock: FakeClock) -> None:
    drip: list[Any] = [step for _ in range(60) for step in (3.0, IDLE)]
    stage = stage_of(clock, [[Script(A, *drip)]])
    story = stage.read()
    assert story.codes == ["timeout"]
    assert story.took_s == pytest.approx(IDLE_S)
    assert breaker(stage).failure_count == 1


def test_a_model_that_thinks_aloud_may_take_its_time(clock: FakeClock) -> None:
    thought = ChatChunk({"choices": [{"delta": {"reasoning_content": "hm"}}]}, is_progress=True)
    thinking: list[Any] = [step for _ in range(30) for step in (9.0, thought)]
    story = Stage(clock, [[Script(*thinking, A, END, BILL)]]).read(remaining_s=800)
    assert (story.error, story.codes) == (None, ["ok"])


def test_a_caller_who_reads_slowly_is_not_the_providers_silence(clock: FakeClock) -> None:
    async def reading(_chunk: ChatChunk) -> None:
        await asyncio.sleep(50)

    story = Stage(clock, [[Script(A, 1.0, B, 1.0, IDLE, 1.0, A, END, BILL)]]).read(remaining_s=800, reading=reading)
    assert (story.error, story.codes) == (None, ["ok"])


def test_no_answer_outlives_the_deadline_and_the_provider_is_not_to_blame(clock: FakeClock) -> None:
    going_on: list[Any] = [step for _ in range(50) for step in (4.0, A)]
    stage = stage_of(clock, [[Script(*going_on)]])
    story = stage.read(remaining_s=30)
    assert isinstance(story.error, errors.DeadlineExceeded)
    assert (story.texts, story.took_s) == (["a"] * 7, 30)
    assert breaker(stage) is None


def test_once_nothing_is_missing_any_more_nobody_waits_for_a_proper_end(clock: FakeClock) -> None:
    lingering = Script(A, END, BILL, 60.0)
    stage = stage_of(clock, [[Script(A, LOST), lingering]])
    stage.read()
    story = stage.read()
    assert (story.error, story.codes, story.took_s) == (None, ["ok"], 0.5)
    assert lingering.is_closed
    assert breaker(stage).failure_count == 0


def test_a_finish_reason_alone_leaves_the_provider_its_time_for_the_bill(clock: FakeClock) -> None:
    """Who has sent one may go on: some vendors send one with every chunk."""
    story = Stage(clock, [[Script(A, END, 9.0, BILL)]]).read()
    assert (story.error, story.took_s) == (None, 9.0)
    assert story.receipt is not None
    assert story.receipt.cost == Decimal("0.002")


def test_a_provider_that_goes_on_after_a_finish_reason_is_not_believed_the_next_one(clock: FakeClock) -> None:
    again = replace(END, state=AnswerState.MAY_CONTINUE)
    story = Stage(clock, [[Script(A, END, B, again, LOST)]]).read()
    assert isinstance(story.error, errors.StreamInterrupted)
    assert Stage(clock, [[Script(A, END, B, again)]]).read().error is None


@pytest.mark.parametrize("failure", IN_MIDSTREAM, ids=lambda failure: failure.code)
def test_what_fails_after_the_end_of_the_answer_takes_only_the_bill_with_it(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = stage_of(clock, [[Script(A, END, failure)]])
    story = stage.read()
    assert (story.error, story.codes) == (None, ["ok"])
    assert breaker(stage) is None


def test_a_mistake_of_the_bridges_own_in_midstream_is_logged_and_does_not_count(
    clock: FakeClock, log: StringIO
) -> None:
    stage = stage_of(clock, [[Script(A, KeyError("the prompt"))]])
    story = stage.read()
    assert (story.codes, breaker(stage)) == (["adapter_fault"], None)
    assert "KeyError at stage.py" in log.getvalue()
    assert "the prompt" not in log.getvalue() + str(story.error)


def test_a_caller_who_leaves_in_midstream_ends_the_providers_work_and_counts_neither_way(clock: FakeClock) -> None:
    left = Script(A, 60.0, B)
    stage = stage_of(clock, [[Script(A, LOST), left]])
    stage.read()
    story = stage.read(leaves_after_s=3)
    assert story.gone is not None
    assert (left.is_closed, story.codes, breaker(stage).failure_count) == (True, ["abandoned"], 1)
    assert story.report.cost_usd is None
    assert story.report.cost_bound_usd is not None
    assert story.report.cost_bound_usd > 0


def test_a_caller_who_leaves_before_the_first_token_ends_the_providers_work_too(clock: FakeClock) -> None:
    left = Script(60.0, A)
    stage = Stage(clock, [[DOWN], [left]])
    story = stage.read(leaves_after_s=3)
    assert (left.is_closed, story.codes) == (True, ["provider_server_error", "abandoned"])


def test_what_a_caller_left_costs_nothing_where_the_model_is_free(clock: FakeClock) -> None:
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


def test_a_probe_is_over_with_its_first_token_and_keeps_nobody_waiting_for_the_rest(clock: FakeClock) -> None:
    stage = opened(clock, Script(1.0, A, 9.0, B, END, BILL))
    seen = []

    async def reading(_chunk: ChatChunk) -> None:
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


def test_what_breaks_off_after_a_probes_first_token_counts_like_any_other(clock: FakeClock) -> None:
    stage = opened(clock, Script(A, LOST))
    assert stage.read().codes == ["connection_lost"]
    assert breaker(stage).state is BreakerState.OPEN


def test_a_probe_that_its_caller_leaves_gives_back_its_lease(clock: FakeClock) -> None:
    stage = opened(clock, Script(60.0, A))
    stage.read(leaves_after_s=3)

    async def asking() -> Permit | Refusal:
        watch = await stage.instance().session()
        return await watch.request_permit("p0", lasts_s=1)

    assert isinstance(run(asking(), clock), Permit)


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


def test_a_caller_who_leaves_while_a_failure_is_noted_does_not_keep_it_from_being_counted(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, 1.0, LOST)]], store=SlowStore())
    story = stage.read(leaves_after_s=1.05)
    assert isinstance(story.gone, errors.StreamInterrupted)
    assert (story.codes, breaker(stage).failure_count) == (["connection_lost"], 1)


def test_a_caller_who_leaves_while_an_end_is_noted_is_billed_for_it(clock: FakeClock) -> None:
    stage = stage_of(clock, [[Script(A, LOST), Script(A, 2.0, END, BILL)]], store=SlowStore())
    stage.read()
    story = stage.read(leaves_after_s=2.05)
    assert isinstance(story.gone, errors.ClientDisconnected)
    assert (story.codes, story.report.cost_usd) == (["ok"], Decimal("0.002"))
    assert breaker(stage).failure_count == 0


def test_a_caller_who_leaves_while_a_probes_failure_is_noted_leaves_no_lease_behind(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN, Script(1.0, DOWN)]], rules=PROBED, store=SlowStore())
    stage.read()
    clock.advance(61)
    stage.read(leaves_after_s=1.15)
    assert breaker(stage).state is BreakerState.OPEN


def test_a_caller_who_leaves_while_a_lease_is_taken_gives_it_back(clock: FakeClock) -> None:
    stage = stage_of(clock, [[DOWN, whole()]], rules=PROBED, store=SlowStore())
    stage.read()
    clock.advance(61)
    stage.read(leaves_after_s=0.05)
    assert stage.called == ["p0"]
    assert stage.read().codes == ["ok"]


def test_what_is_being_settled_is_done_however_often_it_is_cancelled_and_a_failure_in_it_is_logged_without_its_words(
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


def test_a_connection_that_cannot_even_be_closed_does_not_keep_a_failure_from_being_counted(clock: FakeClock) -> None:
    class Stuck(Script):
        async def aclose(self) -> None:
            raise RuntimeError("stuck")

    stage = stage_of(clock, [[Stuck(A, LOST)]])
    with pytest.raises(RuntimeError, match="stuck"):
        stage.read()
    assert breaker(stage).failure_count == 1
