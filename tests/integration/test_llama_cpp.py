"""A real llama.cpp server as a provider: what it answers, and what it rejects in its own words."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function
from tests.fakes.settings import chat_model, make_settings, provider
from tests.integration.llama_server import llama_server

pytestmark = [pytest.mark.model]

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "Say hello."}]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server() as address:
        yield f"{address}/v1"


@pytest.fixture
def chat(url: str) -> Function:
    """A bridge that does not know how small the server's context is, nor what the model lacks."""
    model = chat_model(
        "smollm2-135m-instruct", context_window=100_000, supports_function_calling=True, supports_vision=True
    )
    return Function("chat_completions", make_bridge(make_settings(provider("llama", model, base_url=url))))


def ask(chat: Function, **fields: Any) -> Any:
    return chat("POST", PATH, {"messages": HI, "max_tokens": 16, **fields}, remaining_ms=120_000)


def test_it_answers_whole_and_streamed(chat: Function) -> None:
    answer = ask(chat, temperature=0).json()
    stream = ask(chat, temperature=0, stream=True, stream_options={"include_usage": True}).text
    chunks = [json.loads(event.removeprefix("data: ")) for event in stream.split("\n\n")[:-2]]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == answer["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == answer["usage"]["completion_tokens"] > 0
    assert "estimated" not in answer["usage"]


def test_a_prompt_that_is_too_long_is_recognised(chat: Function) -> None:
    answer = ask(chat, messages=[{"role": "user", "content": "word " * 6_000}])
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert "The provider's message: " in error["message"]


def test_images_are_something_that_this_model_lacks(chat: Function) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    answer = ask(chat, messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, image]}])
    assert (answer.status, answer.json()["error"]["code"]) == (400, "unsupported_by_model"), answer.text
    again = ask(chat, messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, image]}])
    assert "has rejected images lately" in again.json()["error"]["message"]
    assert ask(chat).status == 200


def test_tools_are_called_or_rejected_as_something_that_this_server_lacks(chat: Function) -> None:
    answer = ask(chat, tools=TOOLS)
    if answer.status == 200:
        assert answer.json()["choices"][0]["finish_reason"] in {"stop", "length", "tool_calls"}
    else:
        assert (answer.status, answer.json()["error"]["code"]) == (400, "unsupported_by_model"), answer.text


def test_an_invalid_schema_is_the_callers_fault(chat: Function) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    answer = ask(chat, response_format=schema)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_request"), answer.text


def test_a_json_schema_is_obeyed(chat: Function) -> None:
    shape = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": shape}}
    answer = ask(chat, response_format=schema, max_tokens=64, temperature=0).json()
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["n"], int)
