"""The report of a request: one rule for costs, attempts, log line, headers and error details."""

from decimal import Decimal

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.execution import Attempt, AttemptLog, RequestReport
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
        "cost_usd": "0.0004",
        "provider": "p",
        "model": "wide",
    }


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
