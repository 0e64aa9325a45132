"""What the gateway answers by itself."""

import json

import pytest

from local_stack.gateway_responses import GatewayError, gateway_response
from local_stack.http_server import Response
from local_stack.template import GatewayResponse

CONTEXT = {"requestId": "r-1", "path": "/x"}


def answer(case: GatewayError, configured: dict[str, GatewayResponse], *, accept: str = "") -> Response:
    """The gateway's answer in `case`."""
    return gateway_response(case, configured, context=CONTEXT, accept=accept)


@pytest.mark.parametrize(
    ("case", "status", "message"),
    [
        (GatewayError.NO_ROUTE, 403, "Missing Authentication Token"),
        (GatewayError.REQUEST_TOO_LARGE, 413, "Request Too Long"),
        (GatewayError.THROTTLED, 429, "Too Many Requests"),
        (GatewayError.UNAUTHORIZED, 401, "Unauthorized"),
        (GatewayError.ACCESS_DENIED, 403, "User is not authorized to access this resource"),
        (GatewayError.AUTHORIZER_FAILED, 500, "Internal server error"),
        (GatewayError.AUTHORIZER_UNUSABLE, 500, "Internal server error"),
        (GatewayError.TIMED_OUT, 504, "Endpoint request timed out"),
        (GatewayError.FUNCTION_FAILED, 502, "Internal server error"),
    ],
)
def test_without_configuration_api_gateways_default_response_is_used(
    case: GatewayError, status: int, message: str
) -> None:
    made = answer(case, {})
    assert isinstance(made.body, bytes)
    assert (made.status, json.loads(made.body)) == (status, {"message": message})


def test_variables_of_the_context_are_replaced_in_a_template() -> None:
    text = '{"m": $context.error.messageString, "t": "$context.error.responseType", "id": "$context.requestId"}'
    configured = {"MISSING_AUTHENTICATION_TOKEN": GatewayResponse(404, {"application/json": text})}
    made = answer(GatewayError.NO_ROUTE, configured)
    assert isinstance(made.body, bytes)
    assert made.status == 404
    assert json.loads(made.body) == {
        "m": "Missing Authentication Token",
        "t": "MISSING_AUTHENTICATION_TOKEN",
        "id": "r-1",
    }


def test_a_full_stop_after_a_variable_is_kept() -> None:
    configured = {"THROTTLED": GatewayResponse(templates={"text/plain": "$context.error.message. ${context.path}!"})}
    assert answer(GatewayError.THROTTLED, configured).body == b"Too Many Requests. /x!"


def test_an_unknown_variable_is_empty() -> None:
    configured = {"THROTTLED": GatewayResponse(templates={"text/plain": "[$context.authorizer.claims]"})}
    assert answer(GatewayError.THROTTLED, configured).body == b"[]"


def test_a_default_response_applies_and_keeps_the_status_of_the_error() -> None:
    configured = {"DEFAULT_4XX": GatewayResponse(templates={"application/json": '"four"'})}
    made = answer(GatewayError.REQUEST_TOO_LARGE, configured)
    assert (made.status, made.body) == (413, b'"four"')
    assert answer(GatewayError.TIMED_OUT, configured).status == 504


def test_headers_are_static_text_or_context() -> None:
    configured = {"THROTTLED": GatewayResponse(headers={"retry-after": "'1'", "x-request-id": "context.requestId"})}
    headers = dict(answer(GatewayError.THROTTLED, configured).headers)
    assert (headers["retry-after"], headers["x-request-id"]) == ("1", "r-1")


def test_the_client_gets_the_media_type_that_it_accepts() -> None:
    configured = {"THROTTLED": GatewayResponse(templates={"application/json": "{}", "text/plain": "slow down"})}
    assert answer(GatewayError.THROTTLED, configured, accept="text/plain").body == b"slow down"
    assert answer(GatewayError.THROTTLED, configured, accept="*/*").body == b"{}"
