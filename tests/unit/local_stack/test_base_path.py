"""A domain with a base path, in the local stack: what the template maps, and what the gateway does with it."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.gateway import Gateway
from local_stack.http_server import HttpServer, listen
from local_stack.invocation import Answer, buffered_answer
from local_stack.proxy_event import HttpRequest, Ids, to_authorizer_event
from local_stack.routes import Match
from local_stack.template import Api, Route
from local_stack.template_reader import read_template

TEMPLATE = Path(__file__).parents[3] / "template.yaml"
DOMAIN = {"DomainName": "llm.example.com", "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1"}


class Echo:
    """A function that answers with its event."""

    async def invoke(self, event: bytes, *, trace_id: str = "") -> Answer:
        return await buffered_answer(
            "application/json", json.dumps({"statusCode": 200, "body": event.decode()}).encode()
        )


def get(path: str, base_path: str = "/llm") -> httpx.Response:
    """The answer to a request for the function, over a real connection."""
    routes = [Route("/chat", "ANY", "F"), Route("/", "ANY", "F"), Route("/{proxy+}", "ANY", "F")]
    gateway = Gateway(Api(base_path=base_path), routes, {"F": Echo()})

    async def scenario() -> httpx.Response:
        listening, server = listen("127.0.0.1"), HttpServer(gateway.handle)
        await server.start(listening)
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return await client.get(f"http://127.0.0.1:{listening.getsockname()[1]}{path}")
            finally:
                await server.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(("parameters", "base_path"), [({}, ""), (DOMAIN, ""), ({**DOMAIN, "BasePath": "llm"}, "/llm")])
def test_the_base_path_is_that_of_the_domain_in_the_template(parameters: dict[str, str], base_path: str) -> None:
    assert read_template(TEMPLATE, parameters=parameters).api.base_path == base_path


@pytest.mark.parametrize(
    ("path", "resource"), [("/llm/chat", "/chat"), ("/llm", "/"), ("/llm/", "/"), ("/llm/llm/x", "/{proxy+}")]
)
def test_the_event_has_the_base_path_and_its_resource_has_not(path: str, resource: str) -> None:
    event: dict[str, Any] = get(path).json()
    assert (event["path"], event["requestContext"]["path"], event["resource"]) == (path, path, resource)


@pytest.mark.parametrize("path", ["/chat", "/", "/llmchat", "/other/llm/chat"])
def test_a_path_that_is_not_below_the_base_path_is_forbidden(path: str) -> None:
    answer = get(path)
    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


def test_without_a_base_path_every_path_is_the_apis() -> None:
    assert get("/llm/chat", base_path="").json()["resource"] == "/{proxy+}"


def test_the_method_that_the_authorizer_is_asked_about_has_no_base_path() -> None:
    request = HttpRequest("POST", "/llm/chat", "", (), b"", "10.0.0.9", "/llm")
    ids, match = Ids("r", "x", "t"), Match(Route("/chat", "ANY", "F"), {})
    event = to_authorizer_event(request, match, ids, stage="prod", region="eu-west-1", now=datetime.now(UTC))
    assert event["methodArn"].endswith("/prod/POST/chat")
    assert event["path"] == "/llm/chat"
