"""What the error for a wrong path says, and which path a request has."""

import subprocess
import sys
from typing import Any

import pytest

from sekha_llm_bridge.api.paths import PATHS, unknown_path_message
from sekha_llm_bridge.api.request_path import path_in_api
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from tests.fakes.functions import Function, rest_event
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, make_settings, provider


@pytest.fixture
def bridge(fake: FakeProvider) -> Bridge:
    return make_bridge(make_settings(provider("p", chat_model("org/gpt"), base_url=f"{fake.url}/v1")))


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("//v1//chat//completions//", "/v1/chat/completions"),
        ("/V1/Chat/Completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/prod/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/v1/embeddings/embeddings", "/v1/embeddings"),
        ("/openai/deployments/gpt-4o/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/messages", "/v1/messages"),
        ("/api/v1/messages", "/v1/messages"),
        ("/responses", "/v1/responses"),
        ("/v1/v1/responses", "/v1/responses"),
        ("/v1/response", "/v1/responses"),
        ("/ollama/api/chat", "/api/chat"),
        ("/generate", "/api/generate"),
        ("/tags", "/api/tags"),
        ("/api/tag", "/api/tags"),
        ("/v1/chat", "/v1/chat/completions"),
        ("/chat", "/v1/chat/completions"),
        ("/v1/embed", "/api/v1/embed"),
        ("/models", "/v1/models"),
        ("/v1/tasks", "/api/v1/tasks"),
        ("/healthz", "/health"),
        ("/health/providers", "/api/v1/health/providers"),
    ],
)
def test_a_path_that_is_nearly_right_names_the_right_one(path: str, meant: str) -> None:
    assert unknown_path_message(path) == f"there is no {path} here; did you mean {meant}?"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/responses/resp_1", "stores no responses"),
        ("/v1/responses/resp_1/cancel", "POST /v1/responses"),
        ("/v1/v1/messages", "leave /v1 out of the base URL"),
        ("/v1/v1/messages/count_tokens", "leave /v1 out of the base URL"),
        ("/v1/api/chat", "leave /v1 out of the base URL"),
        ("/v1/messages/batches", "no batches"),
        ("/v1/messages/batches/msgbatch_1/results", "POST /v1/messages"),
        ("/v1/complete", "POST /v1/messages"),
        ("/api/pull", "the server itself"),
        ("/api/blobs/sha256:29fd", "the server itself"),
        ("/api/me", "no account"),
        ("/v1beta/models/gemini:generateContent", "Gemini"),
        ("/v1/completions", "POST /v1/chat/completions"),
        ("/completions", "POST /v1/chat/completions"),
        ("/v1/images/generations", "does not have this part"),
        ("/v1/audio/speech", "does not have this part"),
        ("/v1", "base URL"),
        ("/api/v1", "base URL"),
        ("/docs", "GET /openapi.json"),
        ("/v1/openapi.json", "GET /openapi.json"),
        ("/swagger/index.html", "GET /openapi.json"),
    ],
)
def test_a_path_of_another_api_says_what_to_do_instead(path: str, said: str) -> None:
    message = unknown_path_message(path)
    assert message.startswith(f"there is no {path} here: ")
    assert said in message


@pytest.mark.parametrize("path", ["/nothing/here", "/.env", "/wp-login.php", "/", "//", "/%00"])
def test_a_path_that_is_like_no_other_gets_no_hint(path: str) -> None:
    assert unknown_path_message(path) == f"there is no {path} here"


@pytest.mark.parametrize("path", PATHS)
def test_no_existing_path_is_taken_for_one_of_another_api(path: str) -> None:
    assert unknown_path_message(f"{path}/") == f"there is no {path}/ here; did you mean {path}?"


def test_a_long_path_is_not_repeated_in_full() -> None:
    assert len(unknown_path_message("/x" * 5_000)) < 250


def test_the_answer_to_a_wrong_path_is_openais_envelope(bridge: Bridge) -> None:
    answer = Function("landing", bridge)("POST", "/v1//chat/completions", {})
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["code"], error["param"]) == (
        404,
        "invalid_request_error",
        "not_found",
        None,
    )
    assert error["request_id"] == "gateway-request"
    assert "/v1/chat/completions?" in error["message"]


def test_the_answer_to_a_wrong_path_is_anthropics_envelope_as_well(bridge: Bridge) -> None:
    """Which API the client is for cannot be known, so the error has the fields that the clients of each read."""
    answer = Function("landing", bridge)("POST", "/v1/messages/batches", {})
    body = answer.json()
    assert (body["type"], body["request_id"]) == ("error", "gateway-request")
    assert answer.headers["request-id"] == answer.headers["x-request-id"] == "gateway-request"
    assert "no batches" in body["error"]["message"]


def test_a_host_that_is_no_host_does_not_break_the_error(bridge: Bridge) -> None:
    answer = Function("landing", bridge)("GET", "/nothing", headers={"Host": "[v1"})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")


def test_no_function_loads_the_hints_at_its_start() -> None:
    code = "import sys, sekha_llm_bridge.api; sys.exit('sekha_llm_bridge.api.paths' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def scope(path: str, resource: str, **variables: str) -> Any:
    event = {**rest_event("GET", path, None, {}), "resource": resource, "pathParameters": variables or None}
    return {"path": path, "aws.event": event}


@pytest.mark.parametrize(
    ("path", "resource", "variables", "inside"),
    [
        ("/v1/models", "/v1/models", {}, "/v1/models"),
        ("/v1/models/", "/v1/models", {}, "/v1/models"),
        ("/llm/v1/models", "/v1/models", {}, "/v1/models"),
        ("/llm/v1/models/", "/v1/models", {}, "/v1/models"),
        ("/v1/models/org/gpt/", "/v1/models/{model+}", {"model": "org/gpt"}, "/v1/models/org/gpt"),
        ("/llm/v1/models/a%2Fb", "/v1/models/{model+}", {"model": "a%2Fb"}, "/v1/models/a/b"),
        ("/", "/", {}, "/"),
        ("/llm", "/", {}, "/"),
        ("/llm/", "/", {}, "/"),
        ("/llm/v1//x", "/{proxy+}", {"proxy": "v1//x"}, "/v1//x"),
        ("/v1/models/", "/other", {}, "/v1/models"),
        ("/v1/x/", "/{proxy+}", {}, "/v1/x"),
    ],
)
def test_the_path_in_the_api_has_neither_base_path_nor_slash_at_its_end(
    path: str, resource: str, variables: dict[str, str], inside: str
) -> None:
    assert path_in_api(scope(path, resource, **variables)) == inside


def test_without_an_event_the_path_is_that_of_the_scope() -> None:
    assert [path_in_api({"path": path}) for path in ("/v1/models/", "/", "")] == ["/v1/models", "/", "/"]


def test_a_slash_at_the_end_changes_nothing(bridge: Bridge) -> None:
    models = Function("models", bridge)
    assert models("GET", "/v1/models/").json() == models("GET", "/v1/models").json()
    chat = Function("chat_completions", bridge)
    asked = {"messages": [{"role": "user", "content": "Hello"}]}
    assert chat("POST", "/v1/chat/completions/", asked).status == 200


def test_the_redirect_of_health_is_relative_to_the_path_that_was_sent(bridge: Bridge) -> None:
    health = Function("health", bridge)
    assert health("GET", "/health/").headers["location"] == "../api/v1/health"
    assert health("GET", "/health").headers["location"] == "api/v1/health"
