"""The client libraries with the local stack as it is without any provider: the small models that it carries."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import environment
from local_stack.testing import RunningStack, running_stack
from tests.clients.libraries import Program, all_programs
from tests.clients.programs import run

Outcomes = Callable[[Program], dict[str, Any]]
CALLS = ("chat", "stream", "embeddings", "embed")  # the model is too small for tools and for schemas
PROGRAMS = [one for one in all_programs() if one.library.name != "instructor"]  # which asks for schemas only


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    environment.make("model", environment.find_python())
    with running_stack(config=environment.ROOT / "config" / "examples" / "embedded.yaml", model=True) as running:
        yield running


@pytest.fixture(scope="module")
def outcomes(stack: RunningStack) -> Outcomes:
    @functools.cache
    def outcomes_of(program: Program) -> dict[str, Any]:
        calls = [call for call in CALLS if call in program.library.calls]
        return run(program, stack.base_url, embedding_model="embedding", calls=calls)

    return outcomes_of


@pytest.mark.parametrize(
    ("program", "call"),
    [
        pytest.param(one, call, id=f"{one.title}-{call}")
        for one in PROGRAMS
        for call in CALLS
        if call in one.library.calls
    ],
)
def test_a_library_gets_an_answer_of_the_embedded_models(outcomes: Outcomes, program: Program, call: str) -> None:
    outcome = outcomes(program)[call]
    if call in {"embeddings", "embed"}:
        assert (outcome["vectors"], outcome["dimensions"]) == (2, [384])
        return
    assert outcome["text"].strip(), outcome
    assert outcome.get("is_in_pieces", True)
