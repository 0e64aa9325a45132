"""Streams through the whole stack: API Gateway, the chat function under its own runtime loop, and a provider that does
as it is told; read by the clients that people use.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import yaml
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI

from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider, Reply, Stream, chunk, sse
from tests.fakes.settings import chat_model, provider

pytestmark = pytest.mark.stack

PATH = "/v1/chat/completions"
HI: Any = [{"role": "user", "content": "Hello"}]
STOP, DONE = chunk({}, finish="stop"), b"data: [DONE]\n\n"
USAGE = sse({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
CALL = (
    chunk({"role": "assistant", "content": None}),
    chunk(
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}]}
    ),
    *(
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        for part in ('{"ci', 'ty": "Tromsø"', "}")
    ),
    chunk({}, finish="tool_calls"),
    USAGE,
    DONE,
)


@pytest.fixture(scope="module")
def primary() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from the first.") as fake:
        yield fake


@pytest.fixture(scope="module")
def backup() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from the second.") as fake:
        yield fake


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, primary: FakeProvider, backup: FakeProvider
) -> Iterator[RunningStack]:
    """Two providers, the first of which may be silent for no more than a second."""
    first = provider("first", chat_model("gpt"), base_url=f"{primary.url}/v1", priority=1, timeout_secs=7)
    second = provider(
        "second", chat_model("llama", price=None), provider_type="ollama", base_url=backup.url, priority=2
    )
    hasty = provider("hasty", chat_model("quick"), base_url=f"{primary.url}/v1", priority=3, timeout_secs=1)
    config = tmp_path_factory.mktemp("config") / "providers.yaml"
    config.write_text(
        yaml.safe_dump(
            {"providers": [first, second, hasty], "routing": {"circuit_breaker": {"failure_threshold": 1000}}}
        )
    )
    with running_stack(config=config, on_demand=True) as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> openai.OpenAI:
    """The official client, pointed at the bridge as a user would."""
    return openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="unused", max_retries=0)


@pytest.fixture
def langchain(stack: RunningStack) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{stack.base_url}/v1", api_key="unused", model="gpt", max_retries=0)


def events(response: httpx.Response) -> Iterator[str]:
    """The events as they arrive, without what frames them."""
    for line in response.iter_lines():
        if line:
            yield line.removeprefix("data: ")


def stream(stack: RunningStack, **fields: Any) -> Any:
    body = {"model": "gpt", "messages": HI, "stream": True, **fields}
    return httpx.stream("POST", stack.base_url + PATH, json=body, timeout=30, trust_env=False)


def content(event: str) -> str:
    return str(json.loads(event)["choices"][0]["delta"].get("content") or "")


def failures_of(stack: RunningStack, provider_id: str) -> int:
    breakers = httpx.get(f"{stack.base_url}/api/v1/health", timeout=30).json()["providers"]
    return int(breakers[provider_id]["circuit_breaker"]["failure_count"])


def test_every_chunk_arrives_before_the_provider_sends_the_next(stack: RunningStack, primary: FakeProvider) -> None:
    """So none is held back, the first as little as the last: the provider waits for each to have been read."""
    read = [threading.Event() for _ in range(5)]
    parts = [part for i, gate in enumerate(read) for part in (chunk({"content": f"{i} "}), gate)]
    primary.script(PATH, Reply(stream=Stream([*parts, STOP, DONE])))
    with stream(stack) as response:
        arriving = events(response)
        for i, gate in enumerate(read):
            assert content(next(arriving)) == f"{i} "
            gate.set()
        assert list(arriving)[-1] == "[DONE]"


def test_ten_thousand_chunks_arrive_in_their_order(stack: RunningStack, primary: FakeProvider) -> None:
    primary.script(
        PATH, Reply(stream=Stream([*(chunk({"content": f"{i} "}) for i in range(10_000)), STOP, USAGE, DONE]))
    )
    with stream(stack) as response:
        *chunks, last, done = events(response)
    assert [content(one) for one in chunks] == [f"{i} " for i in range(10_000)]
    assert (done, json.loads(last)["bridge"]["cost"]) == ("[DONE]", 0.000009)


def test_a_stream_of_eight_megabytes_takes_no_more_memory_than_a_short_one(
    stack: RunningStack, primary: FakeProvider
) -> None:
    part = chunk({"content": "x" * 8000})
    primary.script(PATH, *(Reply(stream=Stream([part] * many + [STOP, DONE])) for many in (20, 1000)))
    peaks_mb = []
    for expected in (20, 1000):
        with stream(stack) as response:
            received = sum(len(content(one)) for one in events(response) if one != "[DONE]")
            request_id = response.headers["x-request-id"]
        assert received == expected * 8000
        peaks_mb.append(peak_mb(stack, request_id))
    assert peaks_mb[1] - peaks_mb[0] < 4


def peak_mb(stack: RunningStack, request_id: str) -> int:
    """The most memory that the function used up to that request, by the report that follows its line."""
    for _ in range(100):
        _, _, after = stack.log("chat_completions").partition(request_id)
        if report := re.search(r"Max Memory Used: (\d+) MB", after):
            return int(report[1])
        time.sleep(0.05)
    raise AssertionError("the request has no report")


def test_characters_split_between_two_parts_are_complete(stack: RunningStack, primary: FakeProvider) -> None:
    text = "Grüße, 世界 🐋"
    answer = b"".join([chunk({"content": text}), STOP, DONE])
    primary.script(PATH, Reply(stream=Stream([answer[i : i + 1] for i in range(len(answer))])))
    with stream(stack) as response:
        assert content(next(events(response))) == text


def test_the_openai_client_streams_and_gets_usage_and_receipt(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="gpt", messages=HI, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(one.choices[0].delta.content or "" for one in chunks[:-1]) == "Hello from the first."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 18
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["bridge"]["provider_id"] == "first"


def test_the_openai_client_assembles_streamed_tool_calls(client: openai.OpenAI, primary: FakeProvider) -> None:
    primary.script(PATH, Reply(stream=Stream(CALL)))
    with client.chat.completions.stream(model="gpt", messages=HI, tools=TOOLS) as streaming:
        choice = streaming.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("c1", "weather", {"city": "Tromsø"})


def test_the_openai_client_raises_when_an_answer_was_interrupted(client: openai.OpenAI, primary: FakeProvider) -> None:
    primary.script(PATH, Reply(stream=Stream([chunk({"content": "half"})], ending="reset")))
    received = []

    def read() -> None:
        for one in client.chat.completions.create(model="gpt", messages=HI, stream=True):
            received.append(one.choices[0].delta.content)  # noqa: PERF401 — what came before the error counts, too

    with pytest.raises(openai.APIError, match="the answer was interrupted") as caught:
        read()
    assert received == ["half"]
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "answer_broken"


def test_langchain_streams_text_and_usage(langchain: ChatOpenAI) -> None:
    chunks = list(langchain.stream("Hello", stream_usage=True))
    whole = sum(chunks[1:], start=chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert whole.content == "Hello from the first."
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] == 18


def test_langchain_assembles_streamed_tool_calls(langchain: ChatOpenAI, primary: FakeProvider) -> None:
    primary.script(PATH, Reply(stream=Stream(CALL)))
    chunks = list(langchain.bind_tools(TOOLS).stream("What is the weather?"))
    whole = sum(chunks[1:], start=chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("weather", {"city": "Tromsø"})]


def test_langchain_raises_when_an_answer_was_interrupted(langchain: ChatOpenAI, primary: FakeProvider) -> None:
    primary.script(PATH, Reply(stream=Stream([chunk({"content": "half"})], ending="closed")))
    with pytest.raises(openai.APIError, match="the answer was interrupted"):
        list(langchain.stream("Hello"))


TOO_LONG = Reply(413, {"detail": "The prompt (9001 tokens) is too long"})


@pytest.mark.parametrize("too_long", ["for the provider", "for the window"])
def test_langchain_recognises_a_prompt_that_is_too_long(
    langchain: ChatOpenAI, primary: FakeProvider, too_long: str
) -> None:
    primary.script(PATH, *[TOO_LONG] * (too_long == "for the provider"))
    prompt = "word " * (1 if too_long == "for the provider" else 60_000)
    with pytest.raises(ContextOverflowError, match="maximum context length is 8192 tokens"):
        langchain.invoke(prompt)


def test_langchain_recognises_it_in_a_stream(langchain: ChatOpenAI, primary: FakeProvider) -> None:
    primary.script(PATH, TOO_LONG)
    with pytest.raises(ContextOverflowError):
        list(langchain.stream("Hello"))


def test_a_failover_before_the_first_token_is_not_seen(client: openai.OpenAI, primary: FakeProvider) -> None:
    primary.script(PATH, Reply(stream=Stream([], ending="reset")))
    chunks = list(client.chat.completions.create(model="auto", messages=HI, stream=True))
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "Hello from the second."
    assert {one.model for one in chunks} == {"llama"}


def test_a_silent_provider_in_midstream_is_cancelled_and_counts_as_failed(
    stack: RunningStack, primary: FakeProvider
) -> None:
    silent = Stream([chunk({"content": "half"})], ending="silent")
    before = failures_of(stack, "hasty")
    primary.script(PATH, Reply(stream=silent))
    with stream(stack, model="quick") as response:
        half, error = events(response)
    assert content(half) == "half"
    assert [attempt["code"] for attempt in json.loads(error)["error"]["attempts"]] == ["timeout"]
    assert silent.client_disconnected.wait(10), "the provider continues after the client has disconnected"
    assert failures_of(stack, "hasty") == before + 1


def test_a_provider_that_sends_only_keep_alive_events_is_cancelled(stack: RunningStack, primary: FakeProvider) -> None:
    ended = threading.Event()

    def drip() -> Iterator[bytes]:
        yield chunk({"content": "half"})
        while not ended.wait(0.1):
            yield b": still here\n\n"
            yield chunk({"content": ""})

    primary.script(PATH, Reply(stream=Stream(drip())))
    try:
        with stream(stack, model="quick") as response:
            *_, error = events(response)
    finally:
        ended.set()
    assert [attempt["code"] for attempt in json.loads(error)["error"]["attempts"]] == ["timeout"]


def test_pings_in_a_silence_are_ignored_by_clients(
    client: openai.OpenAI, stack: RunningStack, primary: FakeProvider
) -> None:
    pinged = threading.Event()
    primary.script(PATH, Reply(stream=Stream([pinged, chunk({"content": "at last"}), STOP, DONE])))
    with stream(stack) as response:
        lines = (line for line in response.iter_lines() if line)
        assert next(lines) == ": ping"
        assert "x-bridge-provider" not in response.headers
        pinged.set()
        assert content(next(lines).removeprefix("data: ")) == "at last"
        assert list(lines)[-1] == "data: [DONE]"


def test_a_client_disconnect_cancels_the_providers_work_and_is_logged(
    stack: RunningStack, primary: FakeProvider
) -> None:
    endless = Stream([chunk({"content": "half"})], ending="silent")
    primary.script(PATH, Reply(stream=endless))
    with stream(stack) as response:
        next(events(response))
        request_id = response.headers["x-request-id"]
    assert endless.client_disconnected.wait(5), "the provider continues after the client has disconnected"
    assert httpx.post(stack.base_url + PATH, json={"model": "gpt", "messages": HI}, timeout=30).status_code == 200
    (line,) = [json.loads(line) for line in stack.log("chat_completions").splitlines() if request_id in line]
    assert (line["error"], line["attempts"]) == ("caller_gone", ["first: abandoned"])


def test_requests_without_streaming_are_answered_by_the_same_function(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="gpt", messages=HI)
    assert reply.choices[0].message.content == "Hello from the first."
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=HI, stream=True)
