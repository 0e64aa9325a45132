"""JSON that is nested more deeply than the encoder goes is the caller's mistake, wherever it is, in every inbound API."""

from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, make_settings, provider

HI = {"role": "user", "content": "Hello"}


def nested(depth: int = 500) -> Any:
    """Objects in objects."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


CALL = {"function": {"name": "f", "arguments": nested()}}
USE = {"type": "tool_use", "id": "a", "name": "f", "input": nested()}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "x"}
PLACES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ollama: arguments": ("ollama", "/api/chat", {"messages": [HI, {"role": "assistant", "tool_calls": [CALL]}]}),
    "ollama: parameters": (
        "ollama",
        "/api/chat",
        {"messages": [HI], "tools": [{"function": {"name": "f", "parameters": nested()}}]},
    ),
    "ollama: format": ("ollama", "/api/chat", {"messages": [HI], "format": nested()}),
    "ollama: options": ("ollama", "/api/chat", {"messages": [HI], "options": {"mirostat": nested()}}),
    "ollama: unknown": ("ollama", "/api/chat", {"messages": [HI], "x_new": nested()}),
    "messages: input": (
        "messages",
        "/v1/messages",
        {"messages": [HI, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]},
    ),
    "messages: schema": (
        "messages",
        "/v1/messages",
        {"messages": [HI], "tools": [{"name": "f", "input_schema": nested()}]},
    ),
    "responses: parameters": (
        "responses",
        "/v1/responses",
        {"input": "x", "tools": [{"type": "function", "name": "f", "parameters": nested()}]},
    ),
}


@pytest.mark.parametrize(("name", "path", "fields"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("provider_type", ["openai", "anthropic", "ollama"])
def test_a_body_that_is_nested_too_deeply_is_a_400_or_does_not_matter(
    fake: FakeProvider, provider_type: str, name: str, path: str, fields: dict[str, Any]
) -> None:
    url = f"{fake.url}/v1" if provider_type == "openai" else fake.url
    model = provider("p", chat_model("claude-opus-4-6"), provider_type=provider_type, base_url=url)
    limit = {"max_tokens": 9} if name == "messages" else {}
    answer = Function(name, make_bridge(make_settings(model)))("POST", path, {**limit, **fields, "stream": False})
    assert answer.status in {200, 400}, answer.text
