"""Budgets that several processes share, and that run out in the middle."""

import os

import pytest

from bridge_bench.budgets import BudgetRace, run


@pytest.fixture(autouse=True)
def _environment_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def test_racing_processes_spend_a_budget_to_its_end_and_never_more() -> None:
    found = run(BudgetRace(processes=4, requests=60))
    assert found.violations() == []
    assert found.allowed > 100, "the budgets must not run out at once"
    assert found.refused > 50, "the budgets must run out in the middle"
