"""A function without room for one more execution, behind the API of this project's template."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import httpx
import pytest

from local_stack.gateway import Gateway
from local_stack.http_server import HttpServer, listen
from local_stack.invocation import ThrottledError
from local_stack.template import Api, Route
from local_stack.template_reader import read_template

TEMPLATE = read_template(Path(__file__).parents[3] / "template.yaml")


class Busy:
    async def invoke(self, event: bytes, *, trace_id: str = "") -> NoReturn:
        raise ThrottledError


def answered(api: Api, *, streamed: bool) -> httpx.Response:
    """The answer to a request for the function, over a real connection."""
    gateway = Gateway(api, [Route("/chat", "ANY", "F", streamed=streamed)], {"F": Busy()})

    async def scenario() -> httpx.Response:
        listening, server = listen("127.0.0.1"), HttpServer(gateway.handle)
        await server.start(listening)
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return await client.get(f"http://127.0.0.1:{listening.getsockname()[1]}/chat")
            finally:
                await server.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize("streamed", [False, True])
def test_without_configuration_the_answer_is_api_gateways_500_and_no_429(streamed: bool) -> None:  # noqa: FBT001
    answer = answered(Api(), streamed=streamed)
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal server error"})
    assert answer.headers["x-amzn-errortype"] == "InternalServerErrorException"


@pytest.mark.parametrize("streamed", [False, True])
def test_with_the_template_of_this_project_the_answer_says_busy_and_when_to_retry(streamed: bool) -> None:  # noqa: FBT001
    answer = answered(replace(TEMPLATE.api, authorizers={}), streamed=streamed)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], answer.headers["retry-after"]) == (503, "no_capacity", "5")
    assert error["message"].startswith("The bridge is busy")
    assert error["request_id"] == answer.headers["x-request-id"]
