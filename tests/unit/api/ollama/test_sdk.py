"""Ollama's own client for Python, unchanged, against the function's app."""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx
import ollama
import pytest

from tests.fakes.functions import Function
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk, vector_of
from tests.unit.api.ollama.function import HI

T = TypeVar("T")
PATH = "/v1/chat/completions"


def run(api: Function, use: Callable[[ollama.AsyncClient], Coroutine[Any, Any, T]]) -> T:
    """Returns what `use` returns, which gets a client of the function."""

    async def with_client() -> T:
        client = ollama.AsyncClient("http://bridge", transport=httpx.ASGITransport(api._module.app))
        return await use(client)

    return asyncio.run(with_client())


def weather(city: str) -> str:
    """Returns the weather.

    Args:
        city: The name of the city.
    """
    return f"11 °C in {city}"


def test_a_chat_with_tools_over_several_turns(ollama: Function, fake: FakeProvider) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    fake.script(PATH, Reply(body=chat_completion("", tool_calls=[call])), Reply(body=chat_completion("It is 11 °C.")))

    async def use(client: Any) -> str:
        messages: list[Any] = [{"role": "user", "content": "Weather in Oslo?"}]
        first = await client.chat("gpt", messages, tools=[weather])
        messages.append(first.message)
        called = [call.function for call in first.message.tool_calls]
        messages += [{"role": "tool", "tool_name": one.name, "content": weather(**one.arguments)} for one in called]
        second = await client.chat("gpt", messages, tools=[weather])
        return str(second.message.content)

    assert run(ollama, use) == "It is 11 °C."
    _, assistant, result = fake.received[1].body["messages"]
    assert (result["content"], result["tool_call_id"]) == ("11 °C in Oslo", assistant["tool_calls"][0]["id"])
    assert fake.received[0].body["tools"][0]["function"]["parameters"]["required"] == ["city"]


def test_streams_of_chats_and_completions(ollama: Function) -> None:
    async def use(client: Any) -> tuple[str, str]:
        chat = [part async for part in await client.chat("gpt", HI, stream=True)]
        assert [part.done for part in chat] == [False] * (len(chat) - 1) + [True]
        generated = [part async for part in await client.generate("gpt", "Hello", stream=True)]
        return "".join(part.message.content for part in chat), "".join(part.response for part in generated)

    assert run(ollama, use) == ("Hello from the fake.", "Hello from the fake.")


def test_structured_output_and_images(ollama: Function, fake: FakeProvider) -> None:
    fake.script(PATH, Reply(body=chat_completion('{"a": 1}')))

    async def use(client: Any) -> str:
        message = {"role": "user", "content": "What?", "images": [png()]}
        answer = await client.chat("gpt", [message], format={"type": "object"}, options={"temperature": 0})
        return str(answer.message.content)

    assert run(ollama, use) == '{"a": 1}'
    image, _ = fake.received[0].body["messages"][0]["content"]
    assert image["image_url"]["url"].endswith(base64.b64encode(png()).decode())


def test_vectors_lists_and_descriptions(ollama: Function) -> None:
    async def use(client: Any) -> None:
        assert (await client.embed("mini", ["one", "two"])).embeddings == [vector_of("one", 8), vector_of("two", 8)]
        assert (await client.embeddings("mini", "one")).embedding == vector_of("one", 8)
        names = [model.model for model in (await client.list()).models]
        assert "llama3.1:8b" in names
        for name in names:
            assert (await client.show(name)).modelinfo["general.architecture"]
        assert (await client.ps()).models == []

    run(ollama, use)


def test_errors_are_raised_with_their_words_and_status(ollama: Function) -> None:
    async def use(client: Any) -> Any:
        with pytest.raises(Exception, match="model 'llama9' not found") as caught:
            await client.chat("llama9", HI)
        return caught.value

    error = run(ollama, use)
    assert error.status_code == 404


def test_a_cut_stream_is_raised(ollama: Function, fake: FakeProvider) -> None:
    fake.script(PATH, Reply(stream=Stream([chunk({"content": "one"}), chunk({"content": " two"})], ending="closed")))

    async def use(client: Any) -> str:
        parts = await client.chat("gpt", HI, stream=True)
        read = f"{(await anext(parts)).message.content}{(await anext(parts)).message.content}"
        with pytest.raises(Exception, match="the answer was interrupted") as caught:
            await anext(parts)
        assert type(caught.value).__name__ == "ResponseError"
        return read

    assert run(ollama, use) == "one two"


def test_a_prompt_that_is_empty_loads_a_model(ollama: Function) -> None:
    async def use(client: Any) -> Any:
        return await client.generate("llama3.1:8b", keep_alive=-1)

    assert run(ollama, use).done_reason == "load"
