"""What API Gateway answers by itself: no such route, too large, too slow, a function that failed.

Templates of gateway responses are not Velocity programs: API Gateway only puts `$context…` variables in, and so does
this.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from local_stack.http_server import Headers, Response
from local_stack.template import GatewayResponse

_VARIABLE = re.compile(r"\$context\.([A-Za-z.]+[A-Za-z])|\$\{context\.([A-Za-z.]+[A-Za-z])\}")
_DEFAULT_TEMPLATES = {"application/json": '{"message":$context.error.messageString}'}


@dataclass(frozen=True, slots=True)
class _Default:
    """A case's key among the template's GatewayResponses, and what is said without one."""

    key: str
    status: int
    message: str
    error_type: str


class Case(Enum):
    """When the gateway answers in a function's place."""

    NO_ROUTE = _Default(
        "MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token", "MissingAuthenticationTokenException"
    )
    REQUEST_TOO_LARGE = _Default("REQUEST_TOO_LARGE", 413, "Request Too Long", "RequestTooLargeException")
    THROTTLED = _Default("THROTTLED", 429, "Too Many Requests", "TooManyRequestsException")
    TIMED_OUT = _Default("INTEGRATION_TIMEOUT", 504, "Endpoint request timed out", "IntegrationTimeoutException")
    # A function that fails is no "integration failure" to API Gateway, which keeps that word for endpoints it cannot
    # reach.
    FUNCTION_FAILED = _Default("DEFAULT_5XX", 502, "Internal server error", "InternalServerErrorException")
    # Of a stream that does not begin as it must, the documentation says "a 500 error response".
    MALFORMED_STREAM = _Default("DEFAULT_5XX", 500, "Internal server error", "InternalServerErrorException")
    UNREACHABLE = _Default("INTEGRATION_FAILURE", 504, "Internal server error", "IntegrationFailureException")


def gateway_response(
    case: Case, configured: Mapping[str, GatewayResponse], *, context: Mapping[str, str], accept: str = ""
) -> Response:
    """Returns the answer for `case`; `context` holds the `$context` variables, such as `requestId`."""
    default = case.value
    own = configured.get(default.key) or configured.get(f"DEFAULT_{default.status // 100}XX") or GatewayResponse()
    variables = {
        **context,
        "error.message": default.message,
        "error.messageString": json.dumps(default.message),
        "error.responseType": default.key,
    }
    kind, template = _template(own.templates or _DEFAULT_TEMPLATES, accept)
    headers = [("Content-Type", kind), ("x-amzn-ErrorType", default.error_type), *_headers(own.headers, variables)]
    return Response(own.status or default.status, headers, _filled(template, variables).encode())


def _template(templates: Mapping[str, str], accept: str) -> tuple[str, str]:
    """The template whose media type the client asks for, else the JSON one, else the first."""
    wanted = [one.partition(";")[0].strip() for one in accept.split(",")]
    kind = next((one for one in [*wanted, "application/json"] if one in templates), next(iter(templates)))
    return kind, templates[kind]


def _filled(template: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), template)


def _headers(configured: Mapping[str, str], variables: Mapping[str, str]) -> Headers:
    return [(name, _parameter(value, variables)) for name, value in configured.items()]


def _parameter(value: str, variables: Mapping[str, str]) -> str:
    """A header's value: `'static text'` in quotes, or `context.…`."""
    if value.startswith("'") and value.endswith("'"):
        return value[1:-1]
    return variables.get(value.removeprefix("context."), value) if value.startswith("context.") else value
