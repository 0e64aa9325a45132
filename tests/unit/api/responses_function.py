"""A responses function over a provider, and the words to talk to it. Every answer is checked by OpenAI's own types."""

from typing import Any

from openai.types.responses import Response

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply, Stream
from tests.fakes.response_events import Event, check_response_events, parse_response_events
from tests.fakes.settings import make_settings

PATH = "/v1/responses"
CHAT_PATH = "/v1/chat/completions"


def function(*providers: dict[str, Any], **sections: Any) -> Function:
    """The responses function with a bridge of these providers."""
    return Function("responses", make_bridge(make_settings(*providers, **sections)))


def ask(responses: Function, **fields: Any) -> FunctionResponse:
    """A request that says hello, with further fields, for a whole answer."""
    return responses("POST", PATH, {"input": "Hello", **fields})


def answer(responses: Function, **fields: Any) -> Event:
    """The response to that request."""
    found = ask(responses, **fields)
    assert found.status == 200, found.text
    body: Event = found.json()
    Response.model_validate(body, strict=True)
    return body


def events(responses: Function, **fields: Any) -> list[Event]:
    """The events of that request's stream, in whose order nothing is wrong."""
    sent = {"input": "Hello", "stream": True, **fields}
    found = responses("POST", PATH, sent, remaining_ms=900_000)
    assert (found.status, found.headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), found.text
    parsed = parse_response_events(found.text)
    check_response_events(parsed)
    return parsed


def error(found: FunctionResponse) -> Event:
    """The error of an answer, in OpenAI's envelope."""
    body: Event = found.json()["error"]
    assert {"message", "type", "param", "code", "request_id"} <= set(body)
    return body


def sent_to(fake: FakeProvider) -> Event:
    """The last request that the provider received."""
    body: Event = fake.calls(CHAT_PATH)[-1].body
    return body


def streams(fake: FakeProvider, *parts: bytes, ending: Any = "whole") -> None:
    """Lets the provider's next answer be a stream of these parts."""
    fake.script(CHAT_PATH, Reply(stream=Stream(parts, ending=ending)))
