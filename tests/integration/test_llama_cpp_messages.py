"""The Anthropic adapter on a real llama.cpp server, which speaks the Messages API as well."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import (
    AnswerChunk,
    AnswerState,
    ChatAnswer,
    Conversation,
    Function,
    Message,
    OutputFormat,
    OutputFormatKind,
    Role,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.anthropic.adapter import AnthropicAdapter
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.failures import raises_failure
from tests.fakes.settings import chat_model, provider
from tests.integration.llama_server import llama_server

pytestmark = [pytest.mark.model]

T = TypeVar("T")

MODEL = "smollm2-135m-instruct"
HI = (Message(Role.SYSTEM, (Text("Be brief."),)), Message(Role.USER, (Text("Say hello."),)))
F = Function("get_weather", "the weather", {"type": "object", "properties": {"city": {"type": "string"}}})
SETTINGS = {"temperature": 0}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server() as address:
        yield address


def run(url: str, use: Callable[[AnthropicAdapter], Awaitable[T]]) -> T:
    section = provider("llama", chat_model(MODEL), provider_type="anthropic", base_url=url, api_key="k")

    async def main() -> T:
        http = JsonHttp(SystemClock())
        try:
            return await use(AnthropicAdapter(ProviderConfig.model_validate(section), http, SystemClock()))
        finally:
            await http.aclose()

    return asyncio.run(main())


def call_of(**fields: Any) -> ChatCall:
    conversation = Conversation(**{"messages": HI, "max_output_tokens": 16, "parameters": SETTINGS, **fields})
    return ChatCall(MODEL, conversation, None, 1000)


def chat(url: str, **fields: Any) -> ChatAnswer:
    return run(url, lambda adapter: adapter.chat(call_of(**fields), timeout_s=120))


def stream(url: str, **fields: Any) -> list[AnswerChunk]:
    async def collect(adapter: AnthropicAdapter) -> list[AnswerChunk]:
        return [chunk async for chunk in adapter.stream(call_of(**fields), timeout_s=120)]

    return run(url, collect)


def text_of(answer: ChatAnswer) -> str:
    return "".join(block.text for block in answer.choices[0].blocks if isinstance(block, Text))


def test_it_answers_whole_and_streamed_with_the_same_text_and_usage(url: str) -> None:
    answer, chunks = chat(url), stream(url)
    assert "".join(delta.text or "" for chunk in chunks for delta in chunk.choices) == text_of(answer) != ""
    (usage,) = (chunk.usage for chunk in chunks if chunk.usage is not None)
    assert answer.usage is not None
    assert usage.completion_tokens == answer.usage.completion_tokens > 0
    assert usage.prompt_tokens == answer.usage.prompt_tokens > 0
    assert chunks[-1].state is AnswerState.FINISHED
    assert answer.choices[0].finish_reason in {"stop", "length"}


def test_a_count_is_the_prompt_that_an_answer_is_billed_for(url: str) -> None:
    counted = run(url, lambda adapter: adapter.count_tokens(call_of(), timeout_s=60))
    usage = chat(url).usage
    assert usage is not None
    assert counted is not None
    assert abs(counted - usage.prompt_tokens) <= 1


def test_a_prompt_that_is_too_long_is_recognised_whole_and_streamed(url: str) -> None:
    long = (Message(Role.USER, (Text("word " * 6_000),)),)
    for ask in (chat, stream):
        with raises_failure(FailureKind.CONTEXT_LENGTH_EXCEEDED):
            ask(url, messages=long)


def test_the_stop_sequence_ends_the_answer(url: str) -> None:
    text = text_of(chat(url))
    assert len(text) > 3
    stopped = chat(url, parameters={**SETTINGS, "stop": [text[2:4]]})
    assert text_of(stopped) == text[:2]
    assert stopped.choices[0].finish_reason == "stop"


def test_tools_are_taken(url: str) -> None:
    assert chat(url, tools=(F,)).choices[0].finish_reason in {"stop", "length", "tool_calls"}


def test_calls_and_results_are_taken_as_history(url: str) -> None:
    call = Message(Role.ASSISTANT, (Text("I look."), ToolCall("c:1", "get_weather", '{"city": "Rome"}')))
    result = Message(Role.TOOL, (Text("Sunny."),), call_id="c:1")
    assert chat(url, messages=(*HI, call, result), tools=(F,)).usage is not None


def test_a_schema_is_something_that_a_server_lacks_which_ignores_the_answer_tool(url: str) -> None:
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = OutputFormat(OutputFormatKind.JSON_SCHEMA, "x", shape)
    for ask in (chat, stream):
        with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
            ask(url, output_format=form)
        assert caught.value.failure.unsupported_feature == "response_format"


def test_the_probe_finds_it(url: str) -> None:
    run(url, lambda adapter: adapter.probe(timeout_s=10))
