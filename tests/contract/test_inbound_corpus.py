"""Requests of real clients, as files: each is sent to its API over providers of several formats, over real HTTP.

See tests/corpus/README.md.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from urllib.parse import urlsplit

import pytest
from openai.types.responses import Response

from sekha_llm_bridge.bootstrap import make_bridge
from tests.corpus.inbound_cases import APIS, InboundCase, all_inbound_cases, difference
from tests.fakes.bedrock import FakeBedrock
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider
from tests.fakes.response_events import check_response_events, parse_response_events
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider
from tests.unit.api.inbound import apis

RUNS = [(case, wire, mode) for case in all_inbound_cases() for wire in case.formats for mode in case.modes]
FUNCTIONS = {"chat": "chat_completions", "messages": "messages", "responses": "responses", "ollama": "ollama"}
READERS = {
    "/v1/chat/completions": apis.CHAT,
    "/v1/messages": apis.MESSAGES,
    "/v1/responses": apis.RESPONSES,
    "/api/chat": apis.OLLAMA_CHAT,
    "/api/generate": apis.OLLAMA_GENERATE,
}
CHAT_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
SECRET = "sk-configured-secret"


@pytest.fixture
def server(wire: str) -> Iterator[FakeProvider]:
    """The provider, of the format of the run."""
    with FakeBedrock() if wire == "bedrock" else FakeProvider() as fake:
        yield fake


def function(case: InboundCase, wire: str, server: FakeProvider) -> Function:
    """The API's function over one provider that can do everything."""
    models = [chat_model("m", supports_vision=True, context_window=200_000), embedding_model("e")]
    fields = {
        "openai": {"base_url": f"{server.url}/v1", "api_key": SECRET},
        "anthropic": {"base_url": server.url, "api_key": SECRET},
        "ollama": {"base_url": server.url},
        "bedrock": {"base_url": server.url, "api_key": SECRET, "region": "eu-west-1"},
    }[wire]
    models = models[:1] if wire in {"anthropic", "bedrock"} else models
    return Function(
        FUNCTIONS[case.api], make_bridge(make_settings(provider("p", *models, provider_type=wire, **fields)))
    )


@pytest.mark.parametrize(
    ("case", "wire", "mode"), RUNS, ids=[f"{case.name}-{wire}-{mode}" for case, wire, mode in RUNS]
)
def test_a_request_of_a_client_has_the_expected_outcome(
    case: InboundCase, wire: str, mode: str, server: FakeProvider
) -> None:
    server.script("/model/m/converse" if wire == "bedrock" else CHAT_PATHS[wire], *case.replies)
    is_post = case.method == "POST"
    body = {"model": "m", **case.request, "stream": mode == "stream"} if is_post else None
    headers = {"content-type": "application/json", **case.headers}
    response = function(case, wire, server)(case.method, case.path, body, headers=headers, remaining_ms=900_000)
    expect = case.expect
    assert response.status == expect.get("status", 200), response.text
    assert SECRET not in response.text
    assert [text for text in expect.get("absent", ()) if text in response.text] == []
    _check_answer(case, response, is_stream=mode == "stream")
    chats = [one for one in server.received if one.method == "POST" and "count" not in one.path]
    assert len(chats) == expect.get("requests", len(chats))
    if (sent := (expect.get("sent") or {}).get(wire)) is not None:
        assert difference(sent, chats[-1].body, "sent") is None, json.dumps(chats[-1].body)


def _check_answer(case: InboundCase, response: FunctionResponse, *, is_stream: bool) -> None:
    expect, reader = case.expect, READERS.get(urlsplit(case.path).path)
    if reader is None or response.status != 200:
        error = {} if response.status == 200 else (reader or READERS[APIS[case.api]]).error(response.json())
        assert difference(expect.get("error", {}), error, "error") is None, response.text
        assert expect.get("message", "") in error.get("message", ""), response.text
        assert difference(expect.get("answer", {}), response.json(), "answer") is None, response.text
        return
    if reader is apis.RESPONSES:  # its clients have strict types
        _check_response(response, is_stream=is_stream)
    answer = reader.read(response, stream=is_stream)
    error = answer.error or {}
    assert difference(expect.get("error", {}), error, "error") is None, response.text
    assert expect.get("message", "") in error.get("message", ""), response.text
    assert answer.text == expect.get("text", answer.text)
    assert answer.reasoning == expect.get("reasoning", answer.reasoning)
    assert expect.get("notes", "") in " ".join(answer.receipt.get("notes", [])), response.text
    if "calls" in expect:
        calls = [{"name": name, "arguments": arguments} for name, arguments in answer.calls]
        assert difference(expect["calls"], calls, "calls") is None, response.text
    if not is_stream:
        assert difference(expect.get("answer", {}), response.json(), "answer") is None, response.text
    elif "events" in expect:
        types = [data["type"] for _, data in apis.sse_events(response.text)]
        assert [name for name, _ in groupby(types) if name != "ping"] == expect["events"]


def _check_response(response: FunctionResponse, *, is_stream: bool) -> None:
    if is_stream:
        check_response_events(parse_response_events(response.text))
    else:
        Response.model_validate(response.json(), strict=True)
