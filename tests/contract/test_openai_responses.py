"""OpenAI's Python client, unchanged, with the responses function over real HTTP: chat, streams, tools over several turns,
structured output, errors, cut streams and cancellation.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall, ResponseInputParam
from pydantic import BaseModel

from tests.fakes.function_server import serving
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk
from tests.fakes.settings import chat_model, provider
from tests.unit.api.responses_function import CHAT_PATH, function, sent_to, streams

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
ONE, STOP, DONE = chunk({"role": "assistant", "content": "one"}), chunk({}, finish="stop"), b"data: [DONE]\n\n"


class Person(BaseModel):
    """What an answer must be like."""

    name: str
    age: int


@pytest.fixture
def base_url(fake: FakeProvider) -> Iterator[str]:
    tolerant = {"circuit_breaker": {"failure_threshold": 100}}
    responses = function(provider("p", chat_model("m"), base_url=f"{fake.url}/v1"), routing=tolerant)
    with serving(responses.app) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(base_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=base_url, api_key="key", max_retries=0) as client:
        yield client


def call(call_id: str, **arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": json.dumps(arguments)}}


def test_an_answer_is_read_with_its_receipt(client: OpenAI) -> None:
    answer = client.responses.create(model="auto", input="Hello", instructions="Be kind.", extra_body={"max_cost": 1})
    assert (answer.output_text, answer.status, answer.model) == ("Hello from the fake.", "completed", "m")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 18
    assert answer.model_extra is not None
    assert answer.model_extra["bridge"]["provider_id"] == "p"


def test_a_stream_is_read_and_accumulated(client: OpenAI) -> None:
    with client.responses.stream(model="auto", input="Hello") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(texts) == stream.get_final_response().output_text == "Hello from the fake."
    assert len(texts) == 4


def test_structured_output_is_parsed(client: OpenAI, fake: FakeProvider) -> None:
    fake.script(CHAT_PATH, Reply(body=chat_completion('{"name": "Ada", "age": 36}')))
    answer = client.responses.parse(model="auto", input="Who?", text_format=Person)
    assert answer.output_parsed == Person(name="Ada", age=36)
    sent = sent_to(fake)["response_format"]
    assert (sent["type"], sent["json_schema"]["strict"]) == ("json_schema", True)


def test_tools_over_several_turns(client: OpenAI, fake: FakeProvider) -> None:
    two_calls = [call("call_1", city="Bern"), call("call_2", city="Oslo")]
    fake.script(CHAT_PATH, Reply(body=chat_completion("I look.", tool_calls=two_calls, reasoning_content="Two.")))
    items: ResponseInputParam = [{"role": "user", "content": "The weather in Bern and Oslo?"}]
    first = client.responses.create(model="auto", input=items, tools=[WEATHER])
    calls = [item for item in first.output if isinstance(item, ResponseFunctionToolCall)]
    assert [json.loads(one.arguments)["city"] for one in calls] == ["Bern", "Oslo"]
    items += [item.to_dict() for item in first.output]  # type: ignore[misc]  # the way OpenAI's guide shows
    items += [{"type": "function_call_output", "call_id": one.call_id, "output": "sunny"} for one in calls]
    second = client.responses.create(model="auto", input=items, tools=[WEATHER])
    assert second.output_text == "Hello from the fake."
    assert [(message["role"], message.get("tool_call_id")) for message in sent_to(fake)["messages"]] == [
        ("user", None),
        ("assistant", None),
        ("tool", "call_1"),
        ("tool", "call_2"),
    ]
    assert sent_to(fake)["messages"][1] == {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "Two.",
        "tool_calls": two_calls,
    }


def test_streamed_calls_are_accumulated(client: OpenAI, fake: FakeProvider) -> None:
    def fragment(arguments: str, **begin: Any) -> bytes:
        name = {"name": "weather"} if begin else {}
        return chunk({"tool_calls": [{"index": 0, **begin, "function": {**name, "arguments": arguments}}]})

    streams(fake, fragment('{"city"', id="call_1", type="function"), fragment(': "Bern"}'), STOP, DONE)
    with client.responses.stream(model="auto", input="The weather?", tools=[WEATHER]) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        (item,) = stream.get_final_response().output
    assert item.type == "function_call"
    assert (item.name, item.arguments, "".join(deltas)) == ("weather", '{"city": "Bern"}', '{"city": "Bern"}')


def test_errors_have_openais_classes(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="send the whole conversation"):
        client.responses.create(model="auto", input="Hello", previous_response_id="resp_1")
    with pytest.raises(NotFoundError) as unknown:
        client.responses.create(model="no-such-model", input="Hello")
    assert unknown.value.code == "model_not_found"


def test_a_cut_stream_raises(client: OpenAI, fake: FakeProvider) -> None:
    streams(fake, ONE, ending="closed")
    events = client.responses.create(model="auto", input="Hello", stream=True)
    assert [next(events).type for _ in range(5)][-1] == "response.output_text.delta"
    with pytest.raises(APIError, match="not the whole answer"):
        next(events)
    streams(fake, ONE, ending="closed")
    with (
        pytest.raises(APIError, match="not the whole answer"),
        client.responses.stream(model="auto", input="Hello") as stream,
    ):
        stream.until_done()


def test_a_client_that_stops_reading_cancels_the_providers_work(base_url: str, fake: FakeProvider) -> None:
    endless = Stream([ONE], ending="silent")
    fake.script(CHAT_PATH, Reply(stream=endless))

    async def read_the_beginning() -> None:
        async with AsyncOpenAI(base_url=base_url, api_key="key", max_retries=0) as client:
            stream = await client.responses.create(model="auto", input="Hello", stream=True)
            async for event in stream:
                if event.type == "response.output_text.delta":
                    break
            await stream.close()

    asyncio.run(read_the_beginning())
    assert endless.client_disconnected.wait(timeout=10)
