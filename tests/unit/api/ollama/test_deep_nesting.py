"""JSON that is nested more deeply than the encoder goes is the caller's mistake, wherever it is."""

from typing import Any

import pytest

from tests.fakes.functions import Function
from tests.unit.api.ollama.function import HI, error, post


def nested(depth: int = 500) -> Any:
    """Objects in objects."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


PLACES: dict[str, dict[str, Any]] = {
    "arguments": {
        "messages": [*HI, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": nested()}}]}]
    },
    "parameters": {"tools": [{"function": {"name": "f", "parameters": nested()}}]},
    "format": {"format": nested()},
    "unknown": {"x_new": nested()},
    "options": {"options": {"mirostat": nested()}},
}


@pytest.mark.parametrize("fields", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("model", ["gpt", "llama3.1:8b", "claude-opus-4-6"])
def test_a_body_that_is_nested_too_deeply_is_a_400_or_does_not_matter(
    ollama: Function, model: str, fields: dict[str, Any]
) -> None:
    answer = post(ollama, model=model, **fields)
    if answer.status != 200:
        assert (answer.status, error(answer)[1]["code"]) == (400, "invalid_request")
