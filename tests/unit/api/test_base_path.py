"""A domain with a base path: every path of every function works below it, with the events that API Gateway sends then.

The event's `path` and `requestContext.path` have the base path, `resource` has not.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.lambda_runtime.asgi import is_rest_event, request_of
from tests.fakes.functions import FakeContext, Function, FunctionResponse, rest_event
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider
from tests.template.cloudformation import Template

HOST = "llm.example.com"
PATHS = [
    (Path(function.folder).name, event["Path"]) for function in Template().functions for event in function.events("Api")
]
Call = Callable[..., FunctionResponse]


def event_below(base: str, method: str, path: str, resource: str, body: object = None, **variables: str) -> Any:
    headers = {"Host": HOST, "X-Forwarded-Proto": "https", "content-type": "application/json"}
    event = rest_event(method, f"{base}{path}", None if body is None else json.dumps(body), headers)
    context = {**event["requestContext"], "path": f"{base}{path}", "domainName": HOST, "resourcePath": resource}
    return {**event, "resource": resource, "pathParameters": variables or None, "requestContext": context}


@pytest.fixture
def bridge(fake: FakeProvider) -> Bridge:
    models = (chat_model("org/gpt"), embedding_model("mini"))
    return make_bridge(make_settings(provider("p", *models, base_url=f"{fake.url}/v1")))


@pytest.fixture(scope="module")
def functions() -> dict[str, Function]:
    return {}


@pytest.fixture
def call(bridge: Bridge, functions: dict[str, Function]) -> Call:
    """Calls a function below the base path `/llm`, as API Gateway does."""

    def below(name: str, method: str, path: str, resource: str, body: object = None, **variables: str) -> Any:
        function = functions.setdefault(name, Function(name, bridge)).with_bridge(bridge)
        event = event_below("/llm", method, path, resource, body, **variables)
        answer = function._module.handler(event, FakeContext(29_000))
        return FunctionResponse(answer["statusCode"], answer["headers"], answer["body"])

    return below


def _sent(path: str) -> tuple[str, dict[str, str]]:
    """Returns a path of the route, and its variables."""
    for variable, value in (("{model+}", "org/gpt"), ("{proxy+}", "no/such")):
        if variable in path:
            return path.replace(variable, value), {variable[1:-2]: value}
    return path, {}


@pytest.mark.parametrize(("name", "resource"), PATHS, ids=[path for _, path in PATHS])
def test_every_path_reaches_its_route(name: str, resource: str, call: Call) -> None:
    path, variables = _sent(resource)
    answer = call(name, "PATCH", path, resource, **variables)
    if resource == "/{proxy+}":
        assert (answer.status, "there is no /no/such here" in answer.text) == (404, True)
    else:
        error = answer.json()["error"]
        message = error if isinstance(error, str) else error["message"]  # Ollama's is a text
        assert (answer.status, message.startswith(f"{path} does not take PATCH")) == (405, True)


@pytest.mark.parametrize(("name", "resource"), PATHS, ids=[path for _, path in PATHS])
def test_the_own_runtime_translates_such_an_event_as_well(name: str, resource: str) -> None:
    path, variables = _sent(resource)
    event = event_below("/llm", "POST", path, resource, {}, **variables)
    assert is_rest_event(event)
    scope, body = request_of(event, None, "/") or ({}, b"")
    assert (scope["path"], scope["aws.event"]["resource"], body) == (f"/llm{path}", resource, b"{}")


def test_a_chat_is_answered(call: Call) -> None:
    path, asked = "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}
    assert call("chat_completions", "POST", path, path, asked).status == 200


def test_a_model_with_a_slash_is_found(call: Call) -> None:
    answer = call("models", "GET", "/v1/models/org/gpt", "/v1/models/{model+}", model="org/gpt")
    assert (answer.status, answer.json()["id"]) == (200, "org/gpt")


def test_the_redirect_of_health_stays_below_the_base_path(call: Call) -> None:
    answer = call("health", "GET", "/health", "/health")
    assert (answer.status, answer.headers["location"]) == (307, "api/v1/health")  # relative to /llm/health


@pytest.mark.parametrize("path", ["", "/"])
def test_the_links_of_the_first_page_have_the_domain_and_the_base_path(path: str, call: Call) -> None:
    answer = call("landing", "GET", path, "/").json()
    assert answer["base_url"] == f"https://{HOST}/llm/v1"
    assert answer["openapi_url"] == f"https://{HOST}/llm/openapi.json"
    assert f"curl https://{HOST}/llm/v1/chat/completions" in answer["example"]


def test_the_description_names_its_own_folder_as_the_server(call: Call) -> None:
    answer = call("landing", "GET", "/openapi.json", "/{proxy+}", proxy="openapi.json")
    assert answer.json()["servers"][0]["url"] == "."  # relative to where it was read


def test_a_wrong_path_is_told_the_nearest_one(call: Call) -> None:
    answer = call("landing", "POST", "/chat/completions", "/{proxy+}", proxy="chat/completions")
    assert "did you mean /v1/chat/completions?" in answer.json()["error"]["message"]


@pytest.mark.parametrize("base", ["/v1", "/api", "/v1/models"])
def test_a_base_path_that_is_the_beginning_of_a_path_is_no_trap(base: str, bridge: Bridge) -> None:
    function = Function("models", bridge)
    event = event_below(base, "GET", "/v1/models", "/v1/models")
    assert function._module.handler(event, FakeContext(29_000))["statusCode"] == 200
