"""What coding agents have sent, sent again to a running bridge, with a provider of each format: each request is answered
as a whole, or refused because of the part that no provider of another format has.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.stack import MODELS_OF_FORMATS, CallersStack
from tests.corpus.agent_requests import AgentRequest, requests_to

pytestmark = pytest.mark.stack

LAST_EVENTS = {"/v1/messages": "message_stop", "/v1/responses": "response.completed"}
REQUESTS = [request for path in LAST_EVENTS for request in requests_to(path)]
ANSWERED = [pytest.param(one, id=one.title) for one in REQUESTS if not one.refused]
REFUSED = [pytest.param(one, id=one.title) for one in REQUESTS if one.refused]


def send(stack: CallersStack, request: AgentRequest, model: str) -> httpx.Response:
    body: Any = {**(request.body or {}), "model": model}
    with httpx.Client(base_url=stack.address, timeout=60, trust_env=False) as client:
        return client.request(request.method, request.path, headers=dict(request.headers), json=body)


def events_of(answer: httpx.Response) -> Iterator[Any]:
    for line in answer.text.splitlines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize("model", MODELS_OF_FORMATS)
@pytest.mark.parametrize("request_", ANSWERED)
def test_the_request_of_an_agent_is_answered_as_a_whole(
    callers_stack: CallersStack, request_: AgentRequest, model: str
) -> None:
    answer = send(callers_stack, request_, model)
    assert answer.status_code == 200, answer.text
    *_, last = events_of(answer)
    assert last["type"] == LAST_EVENTS[request_.path.partition("?")[0]]


@pytest.mark.parametrize("request_", REFUSED)
def test_a_request_for_what_only_the_vendor_has_names_that_part(
    callers_stack: CallersStack, request_: AgentRequest
) -> None:
    answer = send(callers_stack, request_, "llama3.1:8b")
    assert answer.status_code == 400
    assert request_.refused in answer.json()["error"]["message"]


def test_the_bridge_answers_an_agent_that_asks_whether_it_is_there(callers_stack: CallersStack) -> None:
    (request,) = requests_to("/")
    answer = httpx.request(request.method, callers_stack.address + request.path, headers=dict(request.headers))
    assert answer.is_success
