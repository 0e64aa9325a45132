"""The client libraries that are too large for every test run, with the same expectations as the others."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import environment
from tests.clients.libraries import Program, all_programs
from tests.clients.programs import expected, run_with_assistant
from tests.clients.stack import CallersStack, stack_of_callers

Outcomes = Callable[[Program], dict[str, Any]]
PROGRAMS = [one for one in all_programs() if one.environment in environment.ON_DEMAND]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallersStack]:
    with stack_of_callers(tmp_path_factory.mktemp("config")) as running:
        yield running


@pytest.fixture(scope="module")
def outcomes(stack: CallersStack) -> Outcomes:
    return functools.cache(lambda program: run_with_assistant(program, stack))


@pytest.mark.parametrize(
    ("program", "call"),
    [pytest.param(one, call, id=f"{one.title}-{call}") for one in PROGRAMS for call in one.library.calls_with_models()],
)
def test_a_large_library_makes_the_call(outcomes: Outcomes, program: Program, call: str) -> None:
    assert outcomes(program)[call] == expected(program, call)
