"""What coding agents have sent, sent again to a running bridge, with a provider of each format: each request is answered
as a whole, or refused because of a part that the provider, or any, does not have.
"""

from typing import Any

import httpx
import pytest

from tests.clients.stack import MODELS_OF_FORMATS, CallersStack
from tests.corpus.agent_requests import AgentRequest, requests_to

pytestmark = pytest.mark.stack

LAST_EVENTS = {
    "/v1/chat/completions": "[DONE]",
    "/v1/messages": '{"type":"message_stop"}',
    "/v1/responses": '{"type":"response.completed"',
}
"""How the data of the last event of a whole answer begins."""
CASES = [
    pytest.param(request, form, id=f"{request.title}, {form}")
    for path in LAST_EVENTS
    for request in requests_to(path)
    for form in MODELS_OF_FORMATS
]


def send(stack: CallersStack, request: AgentRequest, model: str) -> httpx.Response:
    """Without the cost limit: it is the first thing that refuses what cannot be priced beforehand, such as a PDF."""
    body: Any = {**(request.body or {}), "model": model}
    headers = {name: value for name, value in request.headers.items() if name != "x-bridge-max-cost"}
    with httpx.Client(base_url=stack.address, timeout=60, trust_env=False) as client:
        return client.request(request.method, request.path, headers=headers, json=body)


def last_event(answer: httpx.Response) -> str:
    *_, last = (line for line in answer.text.splitlines() if line.startswith("data: "))
    return last.removeprefix("data: ")


@pytest.mark.parametrize(("request_", "form"), CASES)
def test_a_request_of_an_agent_is_answered_as_a_whole_or_the_error_names_the_part(
    callers_stack: CallersStack, request_: AgentRequest, form: str
) -> None:
    answer = send(callers_stack, request_, MODELS_OF_FORMATS[form])
    if part := request_.refused_by.get(form):
        assert answer.status_code == 400, answer.text
        assert part in answer.json()["error"]["message"]
        return
    assert answer.status_code == 200, answer.text
    assert last_event(answer).startswith(LAST_EVENTS[request_.api])


def test_the_bridge_answers_an_agent_that_asks_whether_it_is_there(callers_stack: CallersStack) -> None:
    (request,) = requests_to("/")
    answer = httpx.request(request.method, callers_stack.address + request.path, headers=dict(request.headers))
    assert answer.is_success
