"""The errors of API Gateway itself, as the clients of each API read them: their SDKs, over HTTP.

These errors cannot differ by path, so one body is for all.
"""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import ollama
import openai
import pytest

from tests.fakes.provider import FakeProvider, Reply
from tests.template.cloudformation import Template

RESPONSES: dict[str, dict[str, Any]] = Template().resources["Api"]["Properties"]["GatewayResponses"]
ID = "c6af9ac6"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
VALUES = {"$context.requestId": ID, "$context.error.messageString": '"Unsupported"'}
STATUS_OF_DEFAULTS = {"DEFAULT_4XX": 415, "DEFAULT_5XX": 502}

each_response = pytest.mark.parametrize("name", RESPONSES)


def text_of(name: str) -> str:
    """The response's body, as API Gateway fills it in."""
    text: str = RESPONSES[name]["ResponseTemplates"]["application/json"]
    for variable, value in VALUES.items():
        text = text.replace(variable, value)
    return text


def status_of(name: str) -> int:
    return int(RESPONSES[name].get("StatusCode") or STATUS_OF_DEFAULTS[name])


def message_of(name: str) -> str:
    message: str = json.loads(text_of(name))["error"]["message"]
    return message


@pytest.fixture
def gateway(name: str) -> Iterator[str]:
    """The address of a server that answers every path with this response."""
    headers = {key: ID for key, value in headers_of(name).items() if value == "context.requestId"}
    with FakeProvider() as fake:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat", "/api/tags"):
            fake.always(path, Reply(status_of(name), headers=headers, raw=text_of(name).encode()))
        yield fake.url


def headers_of(name: str) -> dict[str, str]:
    headers: dict[str, str] = RESPONSES[name]["ResponseParameters"]["Headers"]
    return headers


@each_response
def test_openais_client_reads_message_code_and_request_id(name: str, gateway: str) -> None:
    client = openai.OpenAI(base_url=f"{gateway}/v1", api_key="k", max_retries=0)
    for ask in (
        lambda: client.chat.completions.create(model="auto", messages=HELLO),
        lambda: client.responses.create(model="auto", input="Hello"),
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            ask()
        error: Any = caught.value
        assert (error.status_code, error.request_id) == (status_of(name), ID)
        assert error.code == json.loads(text_of(name))["error"]["code"]
        assert message_of(name) in str(error)


@each_response
def test_anthropics_client_reads_message_type_and_request_id(name: str, gateway: str) -> None:
    client = anthropic.Anthropic(base_url=gateway, api_key="k", max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="auto", max_tokens=1, messages=HELLO)
    error: Any = caught.value
    assert (error.status_code, error.request_id, error.body["type"]) == (status_of(name), ID, "error")
    assert message_of(name) in str(error)


@each_response
def test_ollamas_client_reads_the_message(name: str, gateway: str) -> None:
    client = ollama.Client(host=gateway)
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(model="auto", messages=HELLO)
    assert caught.value.status_code == status_of(name)
    assert message_of(name) in str(caught.value)
