"""A real LiteLLM: its proxy as a provider of the bridge, and its client as a caller of the bridge."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

import environment
from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.servers import free_port, wait_until_ready
from tests.fakes.settings import chat_model, embedding_model, provider

KEY = "sk-master-0123456789"
PATH = "/v1/chat/completions"
HI: Any = [{"role": "user", "content": "Hello"}]
TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def rejected(message: str, **fields: object) -> Reply:
    return Reply(400, {"error": {"message": message, "type": "invalid_request_error", **fields}})


@pytest.fixture(scope="module")
def program() -> Path:
    return environment.make("clients", environment.find_python()) / "bin"


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from upstream.") as fake:
        yield fake


@pytest.fixture(scope="module")
def proxy(program: Path, upstream: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a LiteLLM proxy in front of `upstream`."""
    common = {"api_base": f"{upstream.url}/v1", "api_key": "unused", "max_retries": 0}
    models = {"gpt": "openai/gpt-4o", "e": "openai/text-embedding-3-small", "by-messages": "hosted_vllm/by-messages"}
    listed = [{"model_name": name, "litellm_params": {"model": model, **common}} for name, model in models.items()]
    config = tmp_path_factory.mktemp("litellm") / "config.yaml"
    config.write_text(yaml.safe_dump({"model_list": listed, "general_settings": {"master_key": KEY}}))
    port = free_port()
    command: list[str | Path] = [program / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/health/liveliness", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def stack(proxy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with FakeProvider() as small:
        small.always(PATH, rejected("The input (9001 tokens) is longer than the model's context length"))
        fields = {"provider_type": "litellm", "base_url": f"{proxy}/v1", "api_key": KEY}
        providers = [
            provider("proxy", chat_model("gpt"), embedding_model("e"), **fields),
            provider("messages", chat_model("by-messages"), provider_type="anthropic", base_url=proxy, api_key=KEY),
            provider("small", chat_model("small"), base_url=f"{small.url}/v1"),
        ]
        config = tmp_path_factory.mktemp("config") / "providers.yaml"
        config.write_text(yaml.safe_dump({"providers": providers}))
        with running_stack(config=config) as running:
            yield running


@pytest.fixture
def client(stack: RunningStack, upstream: FakeProvider) -> Iterator[openai.OpenAI]:
    yield openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="unused", max_retries=0)
    upstream.always(PATH, None)


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(model="gpt", messages=HI, **fields)


def test_a_litellm_proxy_answers_chats_streams_tools_and_embeddings(
    client: openai.OpenAI, upstream: FakeProvider
) -> None:
    assert ask(client).choices[0].message.content == "Hello from upstream."
    chunks = ask(client, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "Hello from upstream."
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    upstream.script(PATH, Reply(body={"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}))
    (call,) = ask(client, tools=TOOLS).choices[0].message.tool_calls
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("c1", "f", {"x": 1})
    assert len(client.embeddings.create(model="e", input=["a", "b"]).data) == 2


def test_a_litellm_proxy_is_a_second_opinion_on_anthropics_format(
    client: openai.OpenAI, upstream: FakeProvider
) -> None:
    """The adapter for Anthropic's format speaks to LiteLLM's own implementation of `/v1/messages`."""

    def ask_in_messages(messages: Any, **fields: Any) -> Any:
        return client.chat.completions.create(model="by-messages", messages=messages, **fields)

    answer = ask_in_messages(HI)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello from upstream.", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 7)
    chunks = ask_in_messages(HI, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "Hello from upstream."
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    upstream.script(PATH, Reply(body={"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}))
    called = ask_in_messages(HI, tools=TOOLS).choices[0]
    (call,) = called.message.tool_calls
    assert (called.finish_reason, call.function.name, json.loads(call.function.arguments)) == (
        "tool_calls",
        "f",
        {"x": 1},
    )
    result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    assert ask_in_messages([*HI, called.message, result], tools=TOOLS).choices[0].finish_reason == "stop"
    sent = upstream.calls(PATH)[-1].body["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "tool"]
    assert (sent[1]["tool_calls"][0]["id"], sent[2]["tool_call_id"]) == (call.id, call.id)


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (rejected("This model's maximum context length is 8192 tokens."), 400, "context_length_exceeded"),
        (rejected("Invalid 'temperature': decimal above maximum value."), 400, "invalid_request"),
        (rejected("flagged by our content management policy", code="content_filter"), 400, "content_refused"),
        (rejected("this model does not support logprobs"), 400, "unsupported_by_model"),
        (Reply(500, {"error": {"message": "boom"}}), 502, "all_providers_failed"),
    ],
)
def test_an_error_behind_a_litellm_proxy_has_its_cause(
    client: openai.OpenAI, upstream: FakeProvider, reply: Reply, status: int, code: str
) -> None:
    upstream.always(PATH, reply)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client)
    assert (caught.value.status_code, caught.value.code) == (status, code)


def test_litellms_client_recognises_a_prompt_that_is_too_long(program: Path, stack: RunningStack) -> None:
    script = Path(__file__).with_name("litellm_client.py")
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    command: list[str | Path] = [program / "python", script, stack.base_url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert outcomes.pop("chat") == "ok"
    assert set(outcomes.values()) == {"ContextWindowExceededError"}, outcomes
