"""Translates API Gateway's REST events to ASGI, and ASGI responses to streamed responses."""

import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlencode

from sekha_llm_bridge.lambda_runtime.response import ResponseStream

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# Headers that describe one connection only (hop-by-hop).
_HOP_BY_HOP = frozenset(("connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"))
# API Gateway searches for the prelude and its delimiter in that many bytes.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
_PRELUDE_LIMIT_BYTES = 16 * 1024
_DELIMITER = bytes(8)
_REST_KEYS = {"resource", "requestContext", "httpMethod"}


def is_rest_event(event: object) -> bool:
    """Returns whether an event is from a REST API, which alone can stream. Events of HTTP APIs have a version."""
    if not isinstance(event, dict) or not event.keys() >= _REST_KEYS or "version" in event:
        return False
    return all(isinstance(event.get(key) or {}, dict) for key in ("requestContext", "pathParameters"))


def request_of(event: Mapping[str, Any], context: object, base_path: str) -> tuple[Message, bytes] | None:
    """Returns scope and body of a REST event; None for one that is malformed, as no REST API sends it."""
    try:
        return scope_of(event, context, base_path), body_of(event)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def scope_of(event: Mapping[str, Any], context: object, base_path: str) -> Message:
    """Returns the same ASGI scope as Mangum, but of version 2.4, in which `send` raises `OSError` after a
    disconnect."""
    headers = _headers(event)
    return {
        "type": "http",
        "http_version": "1.1",
        "method": event["httpMethod"],
        "headers": [[name.encode(), value.encode()] for name, value in headers.items()],
        "path": _path(event["path"], base_path),
        "raw_path": None,
        "root_path": "",
        "scheme": headers.get("x-forwarded-proto", "https"),
        "query_string": _query(event),
        "server": _server(headers),
        "client": ((event["requestContext"].get("identity") or {}).get("sourceIp"), 0),
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "aws.event": event,
        "aws.context": context,
    }


def body_of(event: Mapping[str, Any]) -> bytes:
    """Returns the request's body, decoded."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def prelude(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns the prelude, from which API Gateway takes the status and the headers, with its delimiter.

    The JSON is ASCII, so that no header can contain the delimiter. Raises `ValueError` when it is too long.
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    cookies = values.pop("set-cookie", [])
    forwarded = {
        name: found for name, found in values.items() if name not in _HOP_BY_HOP and not name.startswith("proxy-")
    }
    found = {
        "statusCode": status,
        "headers": {name: texts[0] for name, texts in forwarded.items() if len(texts) == 1},
        "multiValueHeaders": {name: texts for name, texts in forwarded.items() if len(texts) > 1},
        "cookies": cookies,
    }
    text = json.dumps({key: value for key, value in found.items() if value or key == "headers"}).encode() + _DELIMITER
    if len(text) > _PRELUDE_LIMIT_BYTES:
        raise ValueError(f"the headers take {len(text)} bytes; API Gateway finds them within {_PRELUDE_LIMIT_BYTES}")
    return text


class Exchange:
    """One request and its response, as ASGI channels. Nothing is sent before the first part of the body."""

    def __init__(self, body: bytes, response: ResponseStream) -> None:
        self._request: bytes | None = body
        self._response = response
        self._prelude: bytes | None = None
        self.complete = False

    async def receive(self) -> Message:
        """Returns the whole body; then, once the reader has gone or the response is complete, the disconnect."""
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._response.wait_until_over()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Sends a message. Raises `OSError` when the reader has gone, `RuntimeError` for a message out of order."""
        if message["type"] == "http.response.start" and not self._response.has_begun:
            self._prelude = prelude(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self._prelude is not None and not self.complete:
            await self._send_body(message.get("body", b""))
            if not message.get("more_body", False):
                self.complete = True
                self._response.complete()
        else:
            raise RuntimeError(f"{message['type']} is out of order")

    async def _send_body(self, data: bytes) -> None:
        if not self._response.has_begun:
            await self._response.begin(self._prelude or b"", data)
        elif data:
            await self._response.write(data)


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    for name, values in (event.get("multiValueHeaders") or {}).items():
        headers[name.lower()] = ", ".join(values) if isinstance(values, list) else ""
    return headers


def _query(event: Mapping[str, Any]) -> bytes:
    parameters = event.get("multiValueQueryStringParameters") or event.get("queryStringParameters") or {}
    return urlencode(parameters, doseq=True).encode()


def _path(path: str, base_path: str) -> str:
    prefix = "/" + base_path.removeprefix("/")
    return unquote(path.removeprefix(prefix) if prefix != "/" else path) if path else "/"


def _server(headers: Mapping[str, str]) -> tuple[str, int]:
    host = headers.get("host", "mangum")
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon else (host, int(headers.get("x-forwarded-port", 80)))
