"""The failover loop, with scripted providers and a clock that only moves in the script."""

import asyncio
import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.conversation import ChatAnswer
from sekha_llm_bridge.pricing import TokenCount
from sekha_llm_bridge.routing import Candidate, RouteRequest
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.settings import chat_model, provider
from tests.unit.execution.stage import OK, Stage, answer

GOES_ON = [
    errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x"),
    errors.ProviderError(errors.FailureKind.ADAPTER_FAULT, "x"),
    errors.ProviderError(errors.FailureKind.TIMEOUT, "x"),
    errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x"),
    errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x"),
    errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"),
    errors.ProviderError(errors.FailureKind.QUOTA_EXHAUSTED, "x"),
    errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x"),
    errors.ProviderError(errors.FailureKind.MODEL_MISSING, "x"),
    errors.ProviderError(errors.FailureKind.OUTPUT_CAP_REFUSED, "x"),
]


@pytest.mark.parametrize("failure", GOES_ON, ids=lambda failure: failure.code)
def test_a_provider_failure_is_followed_by_the_next_candidate(clock: FakeClock, failure: errors.ProviderError) -> None:
    stage = Stage(clock, [[failure], [OK]])
    receipt = stage.run_plan().receipt
    assert stage.called == ["p0", "p1"]
    assert [attempt.code for attempt in receipt.attempts] == [failure.code, "ok"]


@pytest.mark.parametrize(
    "failure",
    [
        errors.ProviderError(errors.FailureKind.REQUEST_REJECTED, "x"),
        errors.ProviderError(errors.FailureKind.CONTENT_REFUSED, "x"),
    ],
    ids=lambda failure: failure.code,
)
def test_a_failure_that_would_repeat_everywhere_is_raised_at_once(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = Stage(clock, [[failure], [OK]])
    with pytest.raises(type(failure)):
        stage.run_plan()
    assert stage.called == ["p0"]


def test_a_too_long_prompt_is_tried_with_strictly_larger_windows_only(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [[errors.ProviderError(errors.FailureKind.CONTEXT_LENGTH_EXCEEDED, "x")], [OK], [OK]],
        windows=[8192, 8192, 16_384],
    )
    stage.run_plan()
    assert stage.called == ["p0", "p2"]


def test_a_prompt_too_long_for_the_largest_window_is_context_length_exceeded(clock: FakeClock) -> None:
    with pytest.raises(errors.ContextLengthExceeded, match="maximum context length is 8192 tokens"):
        Stage(
            clock, [[errors.ProviderError(errors.FailureKind.CONTEXT_LENGTH_EXCEEDED, "x")], [OK]], windows=[8192, 4096]
        ).run_plan()


def test_a_too_long_prompt_for_a_small_model_does_not_hide_the_failure_of_the_large_one(clock: FakeClock) -> None:
    failures: list[Any] = [
        errors.ProviderError(errors.FailureKind.SERVER_ERROR, "down"),
        errors.ProviderError(errors.FailureKind.CONTEXT_LENGTH_EXCEEDED, "x"),
    ]
    with pytest.raises(errors.AllProvidersFailed):
        Stage(clock, [[failures[0]], [failures[1]]]).run_plan()


def test_when_all_fail_every_attempt_is_recorded(clock: FakeClock) -> None:
    boom, gone = (
        errors.ProviderError(errors.FailureKind.SERVER_ERROR, "boom", provider_status=500),
        errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "gone"),
    )
    stage = Stage(clock, [[boom], [gone]])
    with pytest.raises(errors.AllProvidersFailed):
        stage.run_plan()
    rows = [(attempt.provider_id, attempt.status, attempt.reason) for attempt in stage.log.attempts]
    assert rows == [("p0", 500, "boom"), ("p1", None, "gone")]


def test_rate_limits_everywhere_are_a_429_with_the_soonest_end(clock: FakeClock) -> None:
    limited = [errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=wait) for wait in (30.0, 7.0)]
    with pytest.raises(errors.RateLimited) as caught:
        Stage(clock, [[limited[0]], [limited[1]]]).run_plan()
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(("auto", "allow"), [(False, True), (True, False)])
def test_without_fallback_only_the_first_candidate_is_tried(clock: FakeClock, auto: bool, allow: bool) -> None:  # noqa: FBT001
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x")], [OK]])
    with pytest.raises(errors.AllProvidersFailed):
        stage.run_plan(auto_fallback=auto, allow_fallback=allow)
    assert stage.called == ["p0"]


def test_each_attempt_gets_the_providers_timeout_or_what_is_left(clock: FakeClock) -> None:
    def slow(_: Candidate) -> ChatAnswer:
        clock.advance(95)
        raise errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x")

    stage = Stage(clock, [[slow], [OK]])
    stage.run_plan(remaining_s=100)
    assert stage.allowed_s == [10, 5]


def test_no_attempt_starts_after_the_deadline(clock: FakeClock) -> None:
    def slow(_: Candidate) -> ChatAnswer:
        clock.advance(100)
        raise errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x")

    stage = Stage(clock, [[slow], [OK]])
    with pytest.raises(errors.DeadlineExceeded):
        stage.run_plan(remaining_s=100)
    assert stage.called == ["p0"]
    assert len(stage.log.attempts) == 1


def test_a_rejected_key_is_fetched_again_and_retried_once(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x"), OK]], reloaded_key="new")
    assert len(stage.run_plan().receipt.attempts) == 2
    assert stage.called == ["p0", "p0"]


def test_a_key_that_is_rejected_twice_is_not_retried_again(clock: FakeClock) -> None:
    rejected: list[Any] = [
        errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x"),
        errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x"),
    ]
    stage = Stage(clock, [rejected, [OK]], reloaded_key="new")
    stage.run_plan()
    assert stage.called == ["p0", "p0", "p1"]


def test_a_key_that_cannot_be_fetched_fails_only_its_provider(clock: FakeClock) -> None:
    stage = Stage(
        clock, [[errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x")], [OK]], reload_fails=True
    )
    stage.run_plan()
    assert stage.called == ["p0", "p1"]


def test_an_unexpected_error_in_an_adapter_is_followed_by_the_next_candidate(clock: FakeClock, log: StringIO) -> None:
    stage = Stage(clock, [[RuntimeError("the yellow submarine")], [OK]])
    assert stage.run_plan().receipt.attempts[0].code == "adapter_fault"
    assert "RuntimeError at stage.py" in log.getvalue()
    assert "submarine" not in log.getvalue()


def test_the_receipts_cost_is_by_the_providers_own_count(clock: FakeClock) -> None:
    receipt = Stage(clock, [[answer(Usage(1000, 500))]]).run_plan().receipt
    # 1000 × $1 + 500 × $2 per million tokens
    assert receipt.cost == Decimal("0.002")
    assert receipt.price_source == "config"


def test_without_a_count_the_receipts_cost_is_the_estimate(clock: FakeClock) -> None:
    receipt = Stage(clock, [[answer(None)]]).run_plan().receipt
    assert receipt.cost == receipt.estimated_cost


def test_a_refused_connection_is_retried_once_after_a_backoff(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"), OK]])
    started_s = clock.monotonic_s()
    assert [attempt.code for attempt in stage.run_plan().receipt.attempts] == ["connect_failed", "ok"]
    assert clock.monotonic_s() - started_s == pytest.approx(0.1)  # half of the longest rest: the jitter is 0.5


def test_a_connection_that_is_refused_twice_is_not_retried_again(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [
            [
                errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"),
                errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"),
            ],
            [OK],
        ],
    )
    stage.run_plan()
    assert stage.called == ["p0", "p0", "p1"]


def test_a_connection_that_fails_slowly_is_not_retried(clock: FakeClock) -> None:
    def slow(_: Candidate) -> ChatAnswer:
        clock.advance(3)
        raise errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x")

    stage = Stage(clock, [[slow], [OK]])
    stage.run_plan()
    assert stage.called == ["p0", "p1"]


def test_no_retry_is_made_without_time_before_the_deadline(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"), OK]])
    with pytest.raises(errors.AllProvidersFailed):
        stage.run_plan(remaining_s=0.25)
    assert stage.called == ["p0"]


def test_no_retry_is_made_once_anything_was_sent(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x"), OK], [OK]])
    stage.run_plan()
    assert stage.called == ["p0", "p1"]


def test_a_hanging_provider_is_cancelled_at_its_timeout_and_followed_by_the_next(clock: FakeClock) -> None:
    async def hang(_: Candidate) -> ChatAnswer:
        await clock_event.wait()
        return OK

    clock_event = asyncio.Event()
    stage = Stage(clock, [[hang], [OK]])
    started_s = clock.monotonic_s()
    assert [attempt.code for attempt in stage.run_plan().receipt.attempts] == ["timeout", "ok"]
    assert clock.monotonic_s() - started_s == pytest.approx(10)


def two_models(provider_id: str = "p0") -> dict[str, Any]:
    return provider(provider_id, chat_model("a"), chat_model("b"), base_url="http://x/v1", api_key="old")


@pytest.mark.parametrize(
    ("failure", "calls"),
    [
        (errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"), 2),
        (errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x"), 1),
        (errors.ProviderError(errors.FailureKind.QUOTA_EXHAUSTED, "x"), 1),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_a_failure_that_affects_all_models_of_a_provider_skips_its_other_models(
    clock: FakeClock, failure: errors.ProviderError, calls: int
) -> None:
    stage = Stage(clock, [[failure] * 4, [OK]], fleet=[two_models(), provider("p1", chat_model("c"), priority=50)])
    stage.run_plan()
    assert stage.called == ["p0"] * calls + ["p1"]


@pytest.mark.parametrize(
    "failure",
    [
        errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x"),
        errors.ProviderError(errors.FailureKind.TIMEOUT, "x"),
        errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"),
        errors.ProviderError(errors.FailureKind.MODEL_MISSING, "x"),
    ],
    ids=lambda failure: failure.code,
)
def test_a_failure_of_one_model_does_not_skip_the_providers_other_models(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = Stage(clock, [[failure, OK]], fleet=[two_models()])
    assert [attempt.model_id for attempt in stage.run_plan().receipt.attempts] == ["a", "b"]


def test_retry_after_sets_a_cool_down_of_the_model(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=30), OK], [OK, OK]])
    stage.run_plan()
    stage.run_plan()
    assert stage.called == ["p0", "p1", "p1"]
    clock.advance(31)
    stage.run_plan()
    assert stage.called[3:] == ["p0"]


def test_while_all_models_cool_down_the_answer_is_a_429_with_the_soonest_end_and_no_call(clock: FakeClock) -> None:
    limited = [[errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=wait)] for wait in (30.0, 7.0)]
    stage = Stage(clock, list(limited))
    with pytest.raises(errors.RateLimited):
        stage.run_plan()
    clock.advance(2)
    with pytest.raises(errors.RateLimited) as caught:
        stage.run_plan()
    assert caught.value.retry_after_s == pytest.approx(5)
    assert stage.called == ["p0", "p1"]


def test_a_rate_limit_without_retry_after_sets_no_cool_down(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"), OK], [OK]])
    stage.run_plan()
    stage.run_plan()
    assert stage.called == ["p0", "p1", "p0"]


@pytest.mark.parametrize(
    "failure",
    [
        errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x"),
        errors.ProviderError(errors.FailureKind.QUOTA_EXHAUSTED, "x"),
    ],
    ids=lambda f: f.code,
)
def test_a_rejected_key_or_an_empty_account_opens_the_breaker_and_alerts(
    clock: FakeClock, failure: errors.ProviderError, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(clock, [[failure, OK], [OK, OK]])
    stage.run_plan()
    stage.run_plan()
    assert stage.called == ["p0", "p1", "p1"]
    assert '"provider needs attention"' in log.getvalue()
    metric = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (metric["ProviderRejected"], metric["provider"], metric["code"]) == ([1.0], "p0", failure.code)
    clock.advance(61)
    stage.run_plan()
    assert stage.called[3:] == ["p0"]


def test_when_every_breaker_is_open_the_answer_says_when_the_first_closes(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x")]])
    with pytest.raises(errors.AllProvidersFailed):
        stage.run_plan()
    clock.advance(20)
    with pytest.raises(errors.NoProviderAvailable) as caught:
        stage.run_plan()
    assert caught.value.retry_after_s == pytest.approx(40)


# One model costs $1 and $2 per million tokens: 100 prompt tokens at most, 100 output tokens: $0.0003.
LIMITED = RouteRequest(None, TokenCount(100, 100, 10), output_tokens=100)


def test_the_cost_of_a_failed_attempt_is_subtracted_from_the_limit(clock: FakeClock) -> None:
    unusable = errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x", usage=Usage(100, 50))
    stage = Stage(clock, [[unusable], [answer(Usage(100, 70))]], request=LIMITED, limit_usd=Decimal("0.00044"))
    receipt = stage.run_plan().receipt
    # $0.00044 less the $0.0002 billed leaves $0.00014 for output beside the prompt's $0.0001: 70 tokens.
    assert [offer.output_cap for offer in stage.offers] == [None, 70]
    assert receipt.attempts[0].cost_usd == Decimal("0.0002")
    assert receipt.cost_bound == Decimal("0.00044")


def test_an_interrupted_attempt_counts_with_its_full_cost_bound(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [[errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x")], [OK]],
        request=LIMITED,
        limit_usd=Decimal("0.00054"),
    )
    receipt = stage.run_plan().receipt
    # $0.00054 less the first attempt's bound of $0.0003
    assert stage.offers[1].output_cap == 70
    assert (receipt.attempts[0].cost_usd, receipt.attempts[0].cost_bound_usd) == (None, Decimal("0.0003"))


def test_a_candidate_beyond_the_remaining_limit_is_skipped_and_named_in_the_error(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [[errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x")], [OK]],
        request=LIMITED,
        limit_usd=Decimal("0.0004"),
    )
    with pytest.raises(errors.AllProvidersFailed, match=r"not tried: p1/m1: a useful answer may cost"):
        stage.run_plan()
    assert stage.called == ["p0"]
    assert stage.log.attempts[0].cost_bound_usd == Decimal("0.0003")


def test_an_error_status_costs_nothing(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [[errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x")], [OK]],
        request=LIMITED,
        limit_usd=Decimal("0.0003"),
    )
    receipt = stage.run_plan().receipt
    assert receipt.attempts[0].cost_usd == 0


def test_the_cost_of_an_answer_includes_that_of_the_failed_attempts_before_it(clock: FakeClock) -> None:
    unusable = errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x", usage=Usage(100, 50))
    receipt = Stage(clock, [[unusable], [answer(Usage(100, 100))]]).run_plan().receipt
    assert receipt.cost == Decimal("0.0002") + Decimal("0.0003")


def test_a_rejected_request_after_a_failover_reports_the_attempts_and_their_cost(clock: FakeClock) -> None:
    unusable = errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x", usage=Usage(100, 50))
    stage = Stage(clock, [[unusable], [errors.ProviderError(errors.FailureKind.REQUEST_REJECTED, "x")]])
    with raises_failure(errors.FailureKind.REQUEST_REJECTED) as caught:
        stage.run_plan()
    report = stage.report(caught.value)
    assert [attempt.code for attempt in report.attempts] == ["malformed_answer", "invalid_request"]
    assert report.cost_usd == Decimal("0.0002")


def test_a_model_over_the_limit_is_not_reported_as_temporarily_unavailable(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [[errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x")], [OK]],
        request=LIMITED,
        limit_usd=Decimal(1),
    )
    stage.run_plan()
    stage.limit_usd = Decimal("0.000001")
    with pytest.raises(errors.CostLimitExceeded):
        stage.run_plan()


def test_a_retry_that_connects_does_not_skip_the_providers_other_models(clock: FakeClock) -> None:
    outcomes: list[Any] = [
        errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"),
        errors.ProviderError(errors.FailureKind.MODEL_MISSING, "x"),
        OK,
    ]
    stage = Stage(clock, [outcomes], fleet=[two_models()])
    assert [attempt.model_id for attempt in stage.run_plan().receipt.attempts] == ["a", "a", "b"]


def test_a_rate_limit_affects_one_model_only(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [[errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=30), OK, OK]],
        fleet=[two_models()],
    )
    stage.run_plan()
    assert [attempt.model_id for attempt in stage.run_plan().receipt.attempts] == ["b"]


def test_models_that_cool_down_already_count_when_the_others_are_rate_limited_too(clock: FakeClock) -> None:
    outcomes: list[list[Any]] = [[errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=9)], [OK]]
    outcomes[1].append(errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=60))
    stage = Stage(clock, outcomes)
    stage.run_plan()
    with pytest.raises(errors.RateLimited) as caught:
        stage.run_plan()
    assert caught.value.retry_after_s == pytest.approx(9)


def test_a_rate_limit_without_an_end_has_a_short_retry_after(clock: FakeClock) -> None:
    hours, unsaid = (
        errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=3600),
        errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"),
    )
    with pytest.raises(errors.RateLimited) as caught:
        Stage(clock, [[hours], [unsaid]]).run_plan()
    assert caught.value.retry_after_s == 1


def test_open_breakers_and_cool_downs_together_are_a_503_that_names_both(clock: FakeClock) -> None:
    outcomes: list[list[Any]] = [
        [errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x")],
        [errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=9)],
    ]
    stage = Stage(clock, outcomes)
    with pytest.raises(errors.AllProvidersFailed):
        stage.run_plan()
    with pytest.raises(
        errors.NoProviderAvailable, match=r"open circuit breaker or limits its rate .*; try again in 9 s"
    ):
        stage.run_plan()


def test_a_cool_down_ends_by_the_wall_clock_because_a_frozen_environments_monotonic_clock_may_stop(
    clock: FakeClock,
) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=30), OK], [OK]])
    stage.run_plan()
    clock.freeze(31)
    stage.run_plan()
    assert stage.called == ["p0", "p1", "p0"]


def test_a_slow_secret_store_leaves_time_for_the_next_candidate(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x")], [OK]], reload_s=1e6)
    started_s = clock.monotonic_s()
    stage.run_plan()
    assert clock.monotonic_s() - started_s == pytest.approx(3)


def test_a_billed_attempt_is_not_retried_without_a_new_quote(clock: FakeClock) -> None:
    billed = errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x", usage=Usage(100, 50))
    stage = Stage(clock, [[billed, OK], [OK]], reloaded_key="new")
    stage.run_plan()
    assert stage.called == ["p0", "p1"]


def test_a_timeout_inside_an_adapter_is_not_reported_as_the_attempts_timeout(clock: FakeClock, log: StringIO) -> None:
    stage = Stage(clock, [[TimeoutError("x")], [OK]])
    assert stage.run_plan().receipt.attempts[0].code == "adapter_fault"


def test_ignored_dimensions_are_followed_by_the_next_candidate(clock: FakeClock) -> None:
    ignored = errors.ProviderError(errors.FailureKind.DIMENSIONS_IGNORED, "x", usage=Usage(100))
    receipt = Stage(clock, [[ignored], [OK]]).run_plan().receipt
    assert receipt.attempts[0].cost_usd == Decimal("0.0001")
    with raises_failure(errors.FailureKind.DIMENSIONS_IGNORED):
        Stage(clock, [[errors.ProviderError(errors.FailureKind.DIMENSIONS_IGNORED, "x")]]).run_plan()


def test_a_provider_that_exceeds_the_output_limit_is_noted_and_its_cost_is_in_the_bound(clock: FakeClock) -> None:
    stage = Stage(clock, [[answer(Usage(100, 5000))]], request=LIMITED, limit_usd=Decimal("0.0003"))
    receipt = stage.run_plan().receipt
    assert receipt.notes == ("p0 ignored the output limit: it billed more than $0.0003",)
    assert receipt.cost == receipt.cost_bound == Decimal("0.0101")


def test_an_interrupted_attempt_is_noted_because_it_may_have_been_billed(clock: FakeClock) -> None:
    receipt = (
        Stage(
            clock,
            [[errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x")], [OK]],
            request=LIMITED,
            limit_usd=Decimal(1),
        )
        .run_plan()
        .receipt
    )
    assert receipt.notes[0] == "interrupted attempts may have been billed, too: up to $0.0003"


def test_an_errors_cost_is_unknown_where_an_attempt_may_have_been_billed(clock: FakeClock) -> None:
    stage = Stage(
        clock,
        [
            [errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x")],
            [errors.ProviderError(errors.FailureKind.REQUEST_REJECTED, "x")],
        ],
        request=LIMITED,
    )
    with raises_failure(errors.FailureKind.REQUEST_REJECTED) as caught:
        stage.run_plan()
    report = stage.report(caught.value)
    assert (report.cost_usd, report.cost_bound_usd) == (None, Decimal("0.0003"))


def test_a_failure_names_its_remedy(clock: FakeClock) -> None:
    failures: list[Any] = [
        errors.ProviderError(errors.FailureKind.QUOTA_EXHAUSTED, "x"),
        errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "y"),
        errors.ProviderError(errors.FailureKind.MODEL_MISSING, "z"),
    ]
    with pytest.raises(errors.AllProvidersFailed, match="p0: x; look at its account, p1: y, p2: z; check its model_id"):
        Stage(clock, [[failure] for failure in failures]).run_plan()
