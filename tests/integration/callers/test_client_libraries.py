"""Real client libraries, each in a process of its own, with a running bridge: one test for each library and call."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

import environment
from tests.clients.libraries import Program, all_libraries, all_programs, call_meanings
from tests.clients.programs import expected, has_node, run_with_assistant
from tests.clients.stack import CallersStack

pytestmark = pytest.mark.stack
Outcomes = Callable[[Program], dict[str, Any]]

CELLS = [
    pytest.param(
        program,
        call,
        id=f"{program.title}-{call}",
        marks=pytest.mark.skipif(program.environment == "npm" and not has_node(), reason="there is no Node.js"),
    )
    for program in all_programs()
    if program.environment not in environment.ON_DEMAND  # tests/clients/large_cases.py has those
    for call in program.library.calls_with_models()
]


@pytest.fixture(scope="package")
def outcomes(callers_stack: CallersStack) -> Outcomes:
    """Runs a program when its first call is asked for."""
    return functools.cache(lambda program: run_with_assistant(program, callers_stack))


@pytest.mark.parametrize(("program", "call"), CELLS)
def test_a_library_makes_the_call(outcomes: Outcomes, program: Program, call: str) -> None:
    assert outcomes(program)[call] == expected(program, call)


def test_each_library_has_known_calls_only() -> None:
    known = call_meanings()
    assert [(one.name, call) for one in all_libraries() for call in one.calls if call not in known] == []
