"""The errors that API Gateway answers itself: unknown route, too large, timeout, failed function.

In the templates of gateway responses, API Gateway only replaces `$context…` variables (it does not run Velocity), and
so does this module.
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
    """The key of an error in the template's GatewayResponses, and API Gateway's default response."""

    key: str
    status: int
    message: str
    error_type: str


class GatewayError(Enum):
    """The errors that the gateway answers instead of a function."""

    NO_ROUTE = _Default(
        "MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token", "MissingAuthenticationTokenException"
    )
    REQUEST_TOO_LARGE = _Default("REQUEST_TOO_LARGE", 413, "Request Too Long", "RequestTooLargeException")
    THROTTLED = _Default("THROTTLED", 429, "Too Many Requests", "TooManyRequestsException")
    UNAUTHORIZED = _Default("UNAUTHORIZED", 401, "Unauthorized", "UnauthorizedException")
    ACCESS_DENIED = _Default(
        "ACCESS_DENIED", 403, "User is not authorized to access this resource", "AccessDeniedException"
    )
    # Both have the type that AWS sends with a failed authorizer.
    AUTHORIZER_FAILED = _Default("AUTHORIZER_FAILURE", 500, "Internal server error", "AuthorizerConfigurationException")
    AUTHORIZER_UNUSABLE = _Default(
        "AUTHORIZER_CONFIGURATION_ERROR", 500, "Internal server error", "AuthorizerConfigurationException"
    )
    TIMED_OUT = _Default("INTEGRATION_TIMEOUT", 504, "Endpoint request timed out", "IntegrationTimeoutException")
    # A function without room for one more execution: Lambda's 429 becomes this response, by default with a 500. AWS's
    # forum says so (thread 309901, and "How do I troubleshoot 500 errors"); its documentation only lists the type.
    FUNCTION_BUSY = _Default("INTEGRATION_FAILURE", 500, "Internal server error", "InternalServerErrorException")
    # API Gateway uses INTEGRATION_FAILURE for functions that it cannot invoke, not for those that fail.
    FUNCTION_FAILED = _Default("DEFAULT_5XX", 502, "Internal server error", "InternalServerErrorException")
    # For a stream with an invalid beginning, the documentation specifies a 500 error response.
    MALFORMED_STREAM = _Default("DEFAULT_5XX", 500, "Internal server error", "InternalServerErrorException")


def gateway_response(
    case: GatewayError, configured: Mapping[str, GatewayResponse], *, context: Mapping[str, str], accept: str = ""
) -> Response:
    """Returns the response for `case`. `context`: the `$context` variables, such as `requestId`."""
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
    """Returns the template of a media type that the client accepts, else the JSON template, else the first."""
    wanted = [one.partition(";")[0].strip() for one in accept.split(",")]
    kind = next((one for one in [*wanted, "application/json"] if one in templates), next(iter(templates)))
    return kind, templates[kind]


def _filled(template: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), template)


def _headers(configured: Mapping[str, str], variables: Mapping[str, str]) -> Headers:
    return [(name, _parameter(value, variables)) for name, value in configured.items()]


def _parameter(value: str, variables: Mapping[str, str]) -> str:
    """Returns a header's value: static text in single quotes, or the value of `context.…`."""
    if value.startswith("'") and value.endswith("'"):
        return value[1:-1]
    return variables.get(value.removeprefix("context."), value) if value.startswith("context.") else value
