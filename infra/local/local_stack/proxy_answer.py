"""A function's answer as an HTTP response: the output of a REST API's Lambda proxy integration."""

import base64
import binascii
import json
import re
from collections.abc import Sequence

from local_stack.http_server import Response
from local_stack.proxy_event import is_binary

_KEYS = frozenset({"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded", "cookies"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The server frames the body itself; a function's word on it is not passed on.
_NOT_PASSED_ON = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})


class MalformedAnswerError(Exception):
    """The function's answer is not what a proxy integration may answer."""


def to_response(answer: bytes, *, accept: str, binary_media_types: Sequence[str]) -> Response:
    """Returns the response that `answer` describes. Raises MalformedAnswerError."""
    try:
        output = json.loads(answer)
    except ValueError as fault:
        raise MalformedAnswerError("not JSON") from fault
    if not isinstance(output, dict):
        raise MalformedAnswerError(f"a JSON object is needed, not {type(output).__name__}")
    unknown = sorted(set(output) - _KEYS)
    if unknown:
        raise MalformedAnswerError(f"unknown keys: {', '.join(unknown)}")
    headers = _headers(output)
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return Response(_status(output), headers, _body(output, accept, binary_media_types))


def _status(output: dict[str, object]) -> int:
    try:
        status = int(str(output["statusCode"]))
    except (KeyError, ValueError) as fault:
        raise MalformedAnswerError(f"statusCode is {output.get('statusCode')!r}") from fault
    if not 200 <= status <= 599:
        raise MalformedAnswerError(f"statusCode is {status}")
    return status


def _headers(output: dict[str, object]) -> list[tuple[str, str]]:
    """The headers; where a name is in both mappings, the values of `multiValueHeaders` stand."""
    single, multiple = _mapping(output, "headers"), _mapping(output, "multiValueHeaders")
    repeated = {name.lower() for name in multiple}
    pairs = [(name, value) for name, value in single.items() if name.lower() not in repeated]
    for name, values in multiple.items():
        if not isinstance(values, list):
            raise MalformedAnswerError("values of multiValueHeaders must be lists")
        pairs += [(name, value) for value in values]
    return [(name, _value(name, value)) for name, value in pairs if name.lower() not in _NOT_PASSED_ON]


def _mapping(output: dict[str, object], key: str) -> dict[str, object]:
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


def _body(output: dict[str, object], accept: str, binary_media_types: Sequence[str]) -> bytes:
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
