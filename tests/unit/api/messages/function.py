"""The function of the Messages API over providers of three formats, and the words to talk to it."""

from typing import Any

from anthropic.types import Message
from pydantic import TypeAdapter

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.message_events import CheckedStream, check_message_events, read_events
from tests.fakes.settings import make_settings

PATH, COUNT_PATH = "/v1/messages", "/v1/messages/count_tokens"
HI = [{"role": "user", "content": "Hello"}]

_MESSAGE = TypeAdapter(Message)


def function(*providers: dict[str, Any], **sections: Any) -> Function:
    """The function with a bridge of these providers."""
    return Function("messages", make_bridge(make_settings(*providers, **sections)))


def post(
    api: Function, path: str = PATH, /, *, headers: dict[str, str] | None = None, **fields: Any
) -> FunctionResponse:
    """A request that says hello, with further fields."""
    body = {"max_tokens": 100, "messages": HI, **fields}
    sent = {"content-type": "application/json", **(headers or {})}
    return api("POST", path, body, headers=sent, remaining_ms=900_000)


def ask(api: Function, /, **fields: Any) -> dict[str, Any]:
    """The message that answers, as Anthropic's client reads it."""
    answer = post(api, **fields)
    assert answer.status == 200, answer.text
    body: dict[str, Any] = answer.json()
    _MESSAGE.validate_python(body)
    return body


def stream(api: Function, /, **fields: Any) -> CheckedStream:
    """The answer as a stream, whose events have been checked."""
    answer = post(api, stream=True, **fields)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), answer.text
    return check_message_events(read_events(answer.text))


def error(answer: FunctionResponse) -> dict[str, Any]:
    """The error of an answer, in Anthropic's envelope."""
    body = answer.json()
    assert body.keys() == {"type", "error", "request_id"}
    assert (body["type"], body["request_id"]) == ("error", answer.headers["request-id"])
    found: dict[str, Any] = body["error"]
    assert {"type", "message"} <= found.keys()
    return found
