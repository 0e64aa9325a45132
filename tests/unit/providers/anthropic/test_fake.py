"""Anthropic's own client reads what the fake sends: a fake of another format would be caught here."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.fakes import anthropic_wire as wire
from tests.fakes.provider import FakeProvider, Reply, Stream

ANSWER = wire.message(
    wire.thinking("Let me see.", "c2ln"),
    wire.redacted("ZGF0YQ=="),
    wire.text("I will look."),
    wire.tool_use("toolu_1", "f", x=1, y=["a", "b"]),
    wire.tool_use("toolu_2", "g"),
    stop_reason="tool_use",
    usage=wire.usage(5, 40, read=100, written=20),
)
HI: Any = {"model": "claude-opus-4-6", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def client(fake: FakeProvider) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=fake.url, max_retries=0)


def test_a_whole_answer_is_what_the_client_parses(fake: FakeProvider, client: anthropic.Anthropic) -> None:
    fake.script("/v1/messages", Reply(body=ANSWER))
    parsed = client.messages.create(**HI)
    assert [block.type for block in parsed.content] == [
        *("thinking", "redacted_thinking", "text", "tool_use", "tool_use")
    ]
    assert parsed.stop_reason == "tool_use"
    assert parsed.usage.cache_read_input_tokens == 100


def test_the_client_makes_the_same_answer_of_the_stream(fake: FakeProvider, client: anthropic.Anthropic) -> None:
    fake.script("/v1/messages", Reply(stream=Stream(list(wire.stream(ANSWER, n_parts=3)))))
    with client.messages.stream(**HI) as stream:
        joined = stream.get_final_message()
    parsed = Message.model_validate(ANSWER)
    assert [block.model_dump(exclude_none=True) for block in joined.content] == [
        block.model_dump(exclude_none=True) for block in parsed.content
    ]
    assert joined.usage.output_tokens == 40
    assert joined.stop_reason == "tool_use"


def test_every_event_has_the_shape_that_the_client_declares() -> None:
    events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    for event in wire.events(ANSWER):
        if event != wire.PING:  # the client drops it before it parses
            events.validate_python(event)


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("overloaded_error", 529, anthropic.InternalServerError),
        ("rate_limit_error", 429, anthropic.RateLimitError),
        ("invalid_request_error", 400, anthropic.BadRequestError),
        ("authentication_error", 401, anthropic.AuthenticationError),
    ],
)
def test_errors_are_read_by_the_client(
    fake: FakeProvider, client: anthropic.Anthropic, kind: str, status: int, expected: type[anthropic.APIStatusError]
) -> None:
    fake.script("/v1/messages", Reply(status, wire.error(kind)))
    with pytest.raises(expected) as caught:
        client.messages.create(**HI)
    assert caught.value.type == kind


def test_an_error_event_is_read_by_the_client(fake: FakeProvider, client: anthropic.Anthropic) -> None:
    parts = [wire.sse(wire.events(ANSWER)[0]), wire.sse(wire.error("overloaded_error"))]
    fake.script("/v1/messages", Reply(stream=Stream(parts)))
    with pytest.raises(anthropic.APIStatusError), client.messages.stream(**HI) as stream:
        stream.get_final_message()


def test_a_token_count_is_read_by_the_client(fake: FakeProvider, client: anthropic.Anthropic) -> None:
    fake.script("/v1/messages/count_tokens", Reply(body={"input_tokens": 14}))
    counted = client.messages.count_tokens(model="m", messages=HI["messages"])
    assert counted == MessageTokensCount(input_tokens=14)
