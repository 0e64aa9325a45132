"""What the gateway answers by itself."""

import json

import pytest

from local_stack.gateway_responses import Case, gateway_response
from local_stack.http_server import Response
from local_stack.template import GatewayResponse

CONTEXT = {"requestId": "r-1", "path": "/x"}


def answer(case: Case, configured: dict[str, GatewayResponse], *, accept: str = "") -> Response:
    """The gateway's answer in `case`."""
    return gateway_response(case, configured, context=CONTEXT, accept=accept)


@pytest.mark.parametrize(
    ("case", "status", "message"),
    [
        (Case.NO_ROUTE, 403, "Missing Authentication Token"),
        (Case.REQUEST_TOO_LARGE, 413, "Request Too Long"),
        (Case.THROTTLED, 429, "Too Many Requests"),
        (Case.TIMED_OUT, 504, "Endpoint request timed out"),
        (Case.FUNCTION_FAILED, 502, "Internal server error"),
    ],
)
def test_without_a_word_in_the_template_api_gateways_own_answer_stands(case: Case, status: int, message: str) -> None:
    made = answer(case, {})
    assert isinstance(made.body, bytes)
    assert (made.status, json.loads(made.body)) == (status, {"message": message})


def test_a_template_is_filled_with_the_context() -> None:
    text = '{"m": $context.error.messageString, "t": "$context.error.responseType", "id": "$context.requestId"}'
    configured = {"MISSING_AUTHENTICATION_TOKEN": GatewayResponse(404, {"application/json": text})}
    made = answer(Case.NO_ROUTE, configured)
    assert isinstance(made.body, bytes)
    assert made.status == 404
    assert json.loads(made.body) == {
        "m": "Missing Authentication Token",
        "t": "MISSING_AUTHENTICATION_TOKEN",
        "id": "r-1",
    }


def test_a_variable_at_the_end_of_a_sentence_does_not_swallow_the_full_stop() -> None:
    configured = {"THROTTLED": GatewayResponse(templates={"text/plain": "$context.error.message. ${context.path}!"})}
    assert answer(Case.THROTTLED, configured).body == b"Too Many Requests. /x!"


def test_a_variable_that_is_not_known_is_empty() -> None:
    configured = {"THROTTLED": GatewayResponse(templates={"text/plain": "[$context.authorizer.claims]"})}
    assert answer(Case.THROTTLED, configured).body == b"[]"


def test_the_default_of_the_class_applies_and_keeps_the_cases_status() -> None:
    configured = {"DEFAULT_4XX": GatewayResponse(templates={"application/json": '"four"'})}
    made = answer(Case.REQUEST_TOO_LARGE, configured)
    assert (made.status, made.body) == (413, b'"four"')
    assert answer(Case.TIMED_OUT, configured).status == 504


def test_headers_are_static_text_or_context() -> None:
    configured = {"THROTTLED": GatewayResponse(headers={"retry-after": "'1'", "x-request-id": "context.requestId"})}
    headers = dict(answer(Case.THROTTLED, configured).headers)
    assert (headers["retry-after"], headers["x-request-id"]) == ("1", "r-1")


def test_the_client_gets_the_media_type_it_asks_for() -> None:
    configured = {"THROTTLED": GatewayResponse(templates={"application/json": "{}", "text/plain": "slow down"})}
    assert answer(Case.THROTTLED, configured, accept="text/plain").body == b"slow down"
    assert answer(Case.THROTTLED, configured, accept="*/*").body == b"{}"
