"""The report of a request: one rule for costs, attempts, log line, headers and error details."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge import errors
from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel, usd
from sekha_llm_bridge.execution import Attempt, AttemptLog, RequestReport
from sekha_llm_bridge.execution.used_models import used_models
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock

ANSWERED = Attempt("p", "m", "ok", 200, "answered", 12, Decimal("0.0002"), Decimal("0.0002"), Usage(100, 50))
REJECTED = Attempt("q", "n", "rate_limited", 429, "the provider answered 429", 3, Decimal(0), Decimal(0))
INTERRUPTED = Attempt("q", "n", "timeout", None, "no answer", 900, None, Decimal("0.0003"))
UNPRICED = Attempt("r", "o", "ok", 200, "answered", 5, None, None, Usage(10, 1, cached_tokens=4))


def report(clock: FakeClock, *attempts: Attempt, error: errors.BridgeError | None = None) -> RequestReport:
    log = AttemptLog(clock)
    log.attempts += attempts
    return RequestReport.of(log, error)


@pytest.mark.parametrize(
    ("attempts", "cost_usd", "cost_bound_usd"),
    [
        ((REJECTED,), Decimal(0), Decimal(0)),
        ((ANSWERED, REJECTED), Decimal("0.0002"), Decimal("0.0002")),
        ((ANSWERED, ANSWERED), Decimal("0.0004"), Decimal("0.0004")),
        ((INTERRUPTED,), None, Decimal("0.0003")),
        ((ANSWERED, INTERRUPTED), None, Decimal("0.0005")),
        ((ANSWERED, UNPRICED), None, None),
    ],
)
def test_the_cost_of_an_error_is_null_where_any_attempts_cost_is_unknown_and_its_bound_is_there(
    clock: FakeClock, attempts: tuple[Attempt, ...], cost_usd: Decimal | None, cost_bound_usd: Decimal | None
) -> None:
    failed = report(clock, *attempts, error=errors.AllProvidersFailed("x"))
    assert (failed.cost_usd, failed.cost_bound_usd) == (cost_usd, cost_bound_usd)
    details = failed.error_details()
    assert details["cost"] == (None if cost_usd is None else float(cost_usd))
    assert details["cost_bound"] == (None if cost_bound_usd is None else float(cost_bound_usd))


def test_the_cost_of_an_answer_is_the_sum_of_what_is_known(clock: FakeClock) -> None:
    answered = report(clock, INTERRUPTED, ANSWERED)
    assert (answered.cost_usd, answered.cost_bound_usd) == (Decimal("0.0002"), Decimal("0.0005"))


def test_a_request_without_attempts_says_nothing_of_costs(clock: FakeClock) -> None:
    failed = RequestReport.of(None, errors.InvalidRequest("x"))
    assert (failed.error_details(), failed.headers(), failed.log_fields()) == ({}, {}, {"error": "invalid_request"})


def test_the_log_line_of_several_answers_has_all_attempts_and_the_sum_of_their_costs(clock: FakeClock) -> None:
    second = ANSWERED._replace(model_id="wide")
    fields = report(clock, ANSWERED, REJECTED, second).log_fields()
    assert fields == {
        "attempts": ["p: ok", "q: rate_limited", "p: ok"],
        "attempt_count": 3,
        "provider": "p",
        "model": "wide",
        "gen_ai.provider.name": "p",
        "gen_ai.response.model": "wide",
        "gen_ai.usage.input_tokens": 200,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 100,
        "cost_usd": 0.0004,
        "max_cost_usd": 0.0004,
        "used": [
            used("m", input_tokens=100, output_tokens=50, cost_pico_usd=200_000_000, max_cost_pico_usd=200_000_000),
            used(
                "wide",
                requests=1,
                input_tokens=100,
                output_tokens=50,
                cost_pico_usd=200_000_000,
                max_cost_pico_usd=200_000_000,
            ),
        ],
    }


def used(model_id: str, **amounts: int) -> dict[str, object]:
    return {"provider_id": "p", "model_id": model_id, **Amounts(**amounts)._asdict()}


def test_the_log_line_of_a_failed_request_names_the_model_of_its_last_attempt_but_no_answer(clock: FakeClock) -> None:
    fields = report(clock, ANSWERED, INTERRUPTED, error=errors.AllProvidersFailed("x")).log_fields()
    assert (fields["provider"], fields["model"], "gen_ai.response.model" in fields) == ("q", "n", False)
    assert (fields["cost_usd"], fields["max_cost_usd"]) == (None, 0.0005)


def test_the_amounts_of_all_models_add_up_to_those_of_the_request(clock: FakeClock) -> None:
    request = report(clock, ANSWERED, REJECTED, INTERRUPTED, UNPRICED)
    amounts = Amounts()
    for one in used_models(request.attempts).values():
        amounts = amounts.plus(one)
    assert amounts == Amounts(
        requests=1,
        input_tokens=110,
        cached_input_tokens=4,
        output_tokens=51,
        cost_pico_usd=200_000_000,
        max_cost_pico_usd=500_000_000,
        unpriced_attempts=1,
    )


def test_a_model_of_which_nothing_was_used_is_left_out(clock: FakeClock) -> None:
    assert list(used_models((REJECTED, ANSWERED))) == [UsedModel("p", "m")]


def test_output_tokens_include_those_that_are_billed_but_not_part_of_the_answer() -> None:
    thought = ANSWERED._replace(usage=Usage(100, 50, unlisted_tokens=7))
    assert used_models((thought,))[UsedModel("p", "m")].output_tokens == 57


def test_headers_name_a_model_only_where_one_model_gave_the_whole_answer(clock: FakeClock) -> None:
    one, two = report(clock, REJECTED, ANSWERED), report(clock, ANSWERED, ANSWERED._replace(model_id="wide"))
    assert one.headers() == {
        "x-bridge-provider": "p",
        "x-bridge-model": "m",
        "x-bridge-attempts": "2",
        "x-bridge-cost-usd": "0.0002",
    }
    assert two.headers() == {"x-bridge-attempts": "2", "x-bridge-cost-usd": "0.0004"}


def test_an_errors_headers_name_no_model(clock: FakeClock) -> None:
    failed = report(clock, ANSWERED, INTERRUPTED, error=errors.VectorStoreUnavailable("x"))
    assert failed.headers() == {"x-bridge-attempts": "2"}


def test_the_usage_is_the_sum_of_what_providers_counted(clock: FakeClock) -> None:
    assert report(clock, ANSWERED, INTERRUPTED, UNPRICED).usage == Usage(110, 51, cached_tokens=4)
    assert report(clock, INTERRUPTED).usage is None


costs_usd = st.decimals(0, 100, places=12)
attempts = st.builds(
    lambda model_id, cost_usd, more_usd, usage: Attempt(
        "p", model_id, "ok", 200, "", 1, cost_usd, cost_usd + more_usd, usage
    ),
    st.sampled_from("abc"),
    costs_usd,
    costs_usd,
    st.none() | st.builds(Usage, *[st.integers(0, 10**9)] * 3),
)


@given(st.lists(attempts, max_size=8))
def test_the_amounts_of_models_add_up_to_the_costs_and_tokens_of_the_receipt(made: list[Attempt]) -> None:
    request = report(FakeClock(), *made)
    total = Amounts()
    for one in used_models(made).values():
        total = total.plus(one)
    tokens = request.usage or Usage(0)
    assert (usd(total.cost_pico_usd), usd(total.max_cost_pico_usd)) == (request.cost_usd, request.cost_bound_usd)
    assert (total.input_tokens, total.output_tokens) == (tokens.prompt_tokens, tokens.completion_tokens)
    assert total.cached_input_tokens == tokens.cached_tokens
    assert total.requests == bool(made)
