"""Makes the HTTP response from a function's answer: the output of a REST API's Lambda proxy integration."""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence

from local_stack.http_server import Headers, Response
from local_stack.proxy_event import is_binary

_KEYS = frozenset({"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded", "cookies"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The server frames the body itself, so these headers of a function are dropped.
_REMOVED_HEADERS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})


class MalformedAnswerError(Exception):
    """The function's answer is not a valid output of a proxy integration."""


def to_response(answer: bytes, *, accept: str, binary_media_types: Sequence[str]) -> Response:
    """Returns the response for `answer`. Raises MalformedAnswerError."""
    output = parsed(answer, _KEYS)
    headers = with_content_type(headers_of(output, _REMOVED_HEADERS))
    return Response(status_of(output), headers, _body(output, accept, binary_media_types))


def parsed(answer: bytes, keys: frozenset[str]) -> dict[str, object]:
    """Parses the JSON object `answer`. Raises MalformedAnswerError for anything else, and for other keys than
    `keys`."""
    try:
        output = json.loads(answer)
    except ValueError as fault:
        raise MalformedAnswerError("not JSON") from fault
    if not isinstance(output, dict):
        raise MalformedAnswerError(f"a JSON object is needed, not {type(output).__name__}")
    unknown = sorted(set(output) - keys)
    if unknown:
        raise MalformedAnswerError(f"unknown keys: {', '.join(unknown)}")
    return output


def status_of(output: Mapping[str, object]) -> int:
    """Returns the status. Raises MalformedAnswerError when it is missing or not in 200..599."""
    try:
        status = int(str(output["statusCode"]))
    except (KeyError, ValueError) as fault:
        raise MalformedAnswerError(f"statusCode is {output.get('statusCode')!r}") from fault
    if not 200 <= status <= 599:
        raise MalformedAnswerError(f"statusCode is {status}")
    return status


def headers_of(output: Mapping[str, object], removed_headers: frozenset[str]) -> list[tuple[str, str]]:
    """Returns the headers. For a name in both mappings, the values of `multiValueHeaders` are used.

    Raises MalformedAnswerError.
    """
    single, multiple = _mapping(output, "headers"), _mapping(output, "multiValueHeaders")
    repeated = {name.lower() for name in multiple}
    pairs = [(name, value) for name, value in single.items() if name.lower() not in repeated]
    for name, values in multiple.items():
        if not isinstance(values, list):
            raise MalformedAnswerError("values of multiValueHeaders must be lists")
        pairs += [(name, value) for value in values]
    return [(name, _value(name, value)) for name, value in pairs if name.lower() not in removed_headers]


def with_content_type(headers: Headers) -> Headers:
    """Returns the headers, with API Gateway's default content type if the function sent none."""
    has_type = any(name.lower() == "content-type" for name, _ in headers)
    return headers if has_type else [*headers, ("Content-Type", "application/json")]


def _mapping(output: Mapping[str, object], key: str) -> dict[str, object]:
    found = output.get(key)
    if found is not None and not isinstance(found, dict):
        raise MalformedAnswerError(f"{key} must be a JSON object")
    return found or {}


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) and _NAME.fullmatch(name):
        text = str(value).strip(" \t")
        if not _CONTROL.search(text):
            return text
    raise MalformedAnswerError(f"header {name} is {value!r}")


def _body(output: Mapping[str, object], accept: str, binary_media_types: Sequence[str]) -> bytes:
    body = output.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise MalformedAnswerError(f"body must be a string, not {type(body).__name__}")
    first = accept.partition(",")[0] or "*/*"
    if output.get("isBase64Encoded") and is_binary(first, binary_media_types):
        try:
            return base64.b64decode(body, validate=True)
        except binascii.Error as fault:
            raise MalformedAnswerError("body is not base64") from fault
    return body.encode("utf-8", "surrogatepass")
