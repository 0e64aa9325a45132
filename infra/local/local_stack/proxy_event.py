"""The event of a REST API's Lambda proxy integration, version 1.0, for an HTTP request."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from local_stack.http_server import Headers
from local_stack.routes import Match
from local_stack.template import ACCOUNT_ID

API_ID = "local"
# Hop-by-hop headers, and headers that the gateway replaces. They are not in the event.
_REMOVED_HEADERS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "transfer-encoding", "upgrade"}
)
_IDENTITY_FIELDS = (
    "accessKey",
    "accountId",
    "caller",
    "cognitoAuthenticationProvider",
    "cognitoAuthenticationType",
    "cognitoIdentityId",
    "cognitoIdentityPoolId",
    "principalOrgId",
    "user",
    "userArn",
)


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of one request, for responses, events and logs."""

    request: str
    extended: str
    trace: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request with its whole body. `path` and `query` are percent-encoded, as sent; `path` has the `base_path`."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    client: str
    base_path: str = ""

    def header(self, name: str) -> str:
        """Returns the last value of header `name` (lower case), or an empty string."""
        return next((value for key, value in reversed(self.headers) if key.lower() == name), "")


def to_event(
    request: HttpRequest, match: Match, ids: Ids, *, stage: str, binary_media_types: Sequence[str], now: datetime
) -> dict[str, Any]:
    """Returns the event of the route's function."""
    body, is_base64 = _body(request, binary_media_types)
    return {
        **_without_body(request, match, ids, stage, now),
        "body": body,
        "isBase64Encoded": is_base64,
    }


def to_authorizer_event(
    request: HttpRequest, match: Match, ids: Ids, *, stage: str, region: str, now: datetime
) -> dict[str, Any]:
    """Returns the event of an authorizer of the type REQUEST: the request without its body, and the ARN of the method
    in which the policy is to allow it. It has the path as the client sent it, not the resource, without a base path.
    """
    path = request.path.removeprefix(request.base_path).lstrip("/")
    method_arn = f"arn:aws:execute-api:{region}:{ACCOUNT_ID}:{API_ID}/{stage}/{request.method}/{path}"
    return {"type": "REQUEST", "methodArn": method_arn, **_without_body(request, match, ids, stage, now)}


def encoded(event: Mapping[str, Any]) -> bytes:
    """Returns an event as compact JSON, as the size limit of an event counts it."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _without_body(request: HttpRequest, match: Match, ids: Ids, stage: str, now: datetime) -> dict[str, Any]:
    headers = _headers(request, ids)
    query = parse_qsl(request.query, keep_blank_values=True)
    return {
        "resource": match.route.path,
        # API Gateway removes all but one of the slashes at the beginning, but not from the path of the context.
        "path": "/" + request.path.lstrip("/"),
        "httpMethod": request.method,
        "headers": dict(headers),
        "multiValueHeaders": _by_name(headers),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _by_name(query) or None,
        "pathParameters": dict(match.variables) or None,
        "stageVariables": None,
        "requestContext": _context(request, match, ids, stage, now),
    }


def _headers(request: HttpRequest, ids: Ids) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in request.headers if name.lower() not in _REMOVED_HEADERS]
    spelling: dict[str, str] = {}
    kept = [(spelling.setdefault(name.lower(), name), value) for name, value in kept]
    host = request.header("host")
    port = host.rpartition(":")[2] if ":" in host else "80"
    forwarded = request.header("x-forwarded-for")
    own = {
        "X-Amzn-Trace-Id": ids.trace,
        "X-Forwarded-For": f"{forwarded}, {request.client}" if forwarded else request.client,
        "X-Forwarded-Port": port,
        "X-Forwarded-Proto": "http",
    }
    replaced = {name.lower() for name in own}
    return [(name, value) for name, value in kept if name.lower() not in replaced] + list(own.items())


def _by_name(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _body(request: HttpRequest, binary_media_types: Sequence[str]) -> tuple[str | None, bool]:
    if not request.body:
        return None, False
    if is_binary(request.header("content-type"), binary_media_types):
        return base64.b64encode(request.body).decode(), True
    return request.body.decode("utf-8", "replace"), False


def is_binary(media_type: str, binary_media_types: Sequence[str]) -> bool:
    """Whether `media_type` is among the API's binary media types."""
    kind = media_type.partition(";")[0].strip().lower()
    accepted = {"*/*", kind, f"{kind.partition('/')[0]}/*"}
    return any(one.lower() in accepted for one in binary_media_types)


def _context(request: HttpRequest, match: Match, ids: Ids, stage: str, now: datetime) -> dict[str, object]:
    at = now.astimezone(UTC)
    return {
        "accountId": ACCOUNT_ID,
        "apiId": API_ID,
        "deploymentId": "local",
        "domainName": request.header("host").partition(":")[0],
        "domainPrefix": request.header("host").partition(".")[0].partition(":")[0],
        "extendedRequestId": ids.extended,
        "httpMethod": request.method,
        "identity": {
            **dict.fromkeys(_IDENTITY_FIELDS),
            "sourceIp": request.client,
            "userAgent": request.header("user-agent") or None,
        },
        "path": request.path,
        "protocol": "HTTP/1.1",
        "requestId": ids.request,
        "requestTime": at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "requestTimeEpoch": int(at.timestamp() * 1000),
        "resourceId": "local",
        "resourcePath": match.route.path,
        "stage": stage,
    }
