"""What coding agents really send (`tests/corpus/agents`), to providers of every format."""

from collections.abc import Iterator

import pytest

from tests.corpus.agent_requests import AgentRequest, requests_to
from tests.fakes.functions import Function
from tests.fakes.message_events import check_message_events, read_events
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.messages.function import PATH, error, function

REQUESTS = [request for request in requests_to(PATH) if request.body is not None]
OPENAI_PATH, OLLAMA_PATH = "/v1/chat/completions", "/api/chat"
FORMATS = {"anthropic": PATH, "openai": OPENAI_PATH, "ollama": OLLAMA_PATH}
MODEL = chat_model("m", context_window=200_000, max_output_tokens=64_000, supports_vision=True, price=None)


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


def send(fake: FakeProvider, provider_type: str, request: AgentRequest) -> tuple[Function, str]:
    """Sends a request for any model to a bridge with one provider of that type."""
    fake.reset()
    base_url = f"{fake.url}/v1" if provider_type == "openai" else fake.url
    api = function(provider("only", MODEL, provider_type=provider_type, base_url=base_url))
    headers = {**request.headers, "content-type": "application/json"}
    headers.pop("x-bridge-max-cost", None)  # the model has no price
    answer = api("POST", PATH, {**(request.body or {}), "model": "auto"}, headers=headers, remaining_ms=900_000)
    if answer.status != 200:
        return api, str(error(answer)["message"])
    assert check_message_events(read_events(answer.text)).is_whole
    return api, ""


@pytest.mark.parametrize("request_", REQUESTS, ids=[request.title for request in REQUESTS])
def test_anthropic_gets_what_the_agent_has_sent(shared: FakeProvider, request_: AgentRequest) -> None:
    assert send(shared, "anthropic", request_)[1] == ""
    received = shared.calls(PATH)[0]
    assert received.body == {**(request_.body or {}), "model": "m"}
    assert received.headers.get("anthropic-beta") == request_.headers.get("anthropic-beta")


@pytest.mark.parametrize("provider_type", ["openai", "ollama"])
@pytest.mark.parametrize("request_", REQUESTS, ids=[request.title for request in REQUESTS])
def test_other_providers_get_all_that_they_can_take(
    shared: FakeProvider, request_: AgentRequest, provider_type: str
) -> None:
    refusal = send(shared, provider_type, request_)[1]
    if part := request_.refused_by.get(provider_type):
        assert part in refusal
        return
    assert refusal == ""
    sent, body = shared.calls(FORMATS[provider_type])[0].body, request_.body or {}
    tools = [tool["function"]["name"] for tool in sent.get("tools", ())]
    assert tools == [tool["name"] for tool in body.get("tools", ())]
    texts = str(sent["messages"])
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "text":
                assert block["text"].strip() in texts.replace("\\n", "\n").replace("\\'", "'")
    calls = [call for message in sent["messages"] for call in message.get("tool_calls", ())]
    results = [message for message in sent["messages"] if message["role"] == "tool"]
    assert len(calls) == len(results) == sum(_blocks(body, "tool_use"))
    assert not any("cache_control" in str(message) for message in sent["messages"]) or provider_type == "openai"


def _blocks(body: object, kind: str) -> list[bool]:
    """One true value for each block of that type in the messages of a request."""
    messages = body["messages"] if isinstance(body, dict) else ()
    contents = (message["content"] for message in messages if isinstance(message["content"], list))
    return [True for content in contents for block in content if block["type"] == kind]
