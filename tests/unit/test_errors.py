"""The tree of errors: complete, and each with its two decisions."""

import re

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.usage import Usage


def leaves(kind: type[errors.BridgeError]) -> list[type[errors.BridgeError]]:
    below = [sub for sub in kind.__subclasses__() if sub.__module__ == errors.__name__]  # the client has its own, too
    return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]


def test_every_error_has_its_own_code() -> None:
    codes = [kind.code for kind in leaves(errors.BridgeError) if kind is not errors.ProviderError]
    assert [code for code in codes if codes.count(code) > 1] == []


def test_the_module_draws_every_error_of_the_tree() -> None:
    assert errors.__doc__ is not None
    missing = [kind.__name__ for kind in leaves(errors.BridgeError) if kind.__name__ not in errors.__doc__]
    assert missing == []


def test_every_kind_of_failure_has_its_own_code() -> None:
    codes = [kind.code for kind in errors.FailureKind]
    assert len(set(codes)) == len(codes)


def test_the_table_explains_every_kind_of_failure() -> None:
    assert errors.FailureKind.__doc__ is not None
    explained = re.findall(r"^ *([A-Z_]+) ", errors.FailureKind.__doc__, re.MULTILINE)
    assert explained == [kind.name for kind in errors.FailureKind]


def test_a_failure_that_would_repeat_everywhere_neither_tries_the_next_candidate_nor_counts() -> None:
    for kind in errors.FailureKind:
        if not kind.try_next:
            assert kind.outcome is errors.CallOutcome.NEUTRAL


@pytest.mark.parametrize(
    ("outcome", "names"),
    [
        (
            "failure",
            {"CONNECT_FAILED", "CONNECTION_LOST", "TIMEOUT", "SERVER_ERROR", "MALFORMED_ANSWER", "ACCESS_DENIED"},
        ),
        ("rejection", {"QUOTA_EXHAUSTED", "CREDENTIALS_REJECTED"}),
        ("success", set()),
    ],
)
def test_every_kind_of_failure_has_its_outcome_for_the_breaker(outcome: str, names: set[str]) -> None:
    assert {kind.name for kind in errors.FailureKind if kind.outcome.value == outcome} == names


def test_another_bill_makes_another_error_and_leaves_the_first_as_it_was() -> None:
    first = errors.ProviderError(errors.FailureKind.RATE_LIMITED, "slow down", provider_status=429, retry_after_s=3)
    billed = first.with_billing(Usage(5), may_be_billed=True)
    assert (first.failure.usage, first.failure.may_be_billed) == (None, False)
    assert (billed.failure.usage, billed.failure.may_be_billed) == (Usage(5), True)
    assert (billed.kind, billed.failure.provider_status, billed.retry_after_s) == (first.kind, 429, 3)
