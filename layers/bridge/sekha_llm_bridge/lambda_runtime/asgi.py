"""Between API Gateway's REST events, an ASGI app and a streamed answer."""

import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlencode

from sekha_llm_bridge.lambda_runtime.response import ResponseStream

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# They say how one connection frames and keeps a message; the next one has its own.
_OF_ONE_CONNECTION = frozenset(
    ("connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
# API Gateway looks for prelude and delimiter in so many bytes.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
_PRELUDE_LIMIT_BYTES = 16 * 1024
_DELIMITER = bytes(8)
_OF_REST = {"resource", "requestContext", "httpMethod"}


def is_rest_event(event: object) -> bool:
    """Whether it is of a REST API: nothing else streams. Those of an HTTP API have a version."""
    return isinstance(event, dict) and event.keys() >= _OF_REST and "version" not in event


def scope_of(event: Mapping[str, Any], context: object, base_path: str) -> Message:
    """The same as Mangum's, but for the version: 2.4, where `send` raises `OSError` after a disconnect."""
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
    """The request's body, decoded."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def prelude(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What tells API Gateway the status and headers of what follows it.

    The JSON is ASCII, so that no header can hold the delimiter. Raises `ValueError` when it is too long to be found.
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    cookies = values.pop("set-cookie", [])
    passed_on = {name: found for name, found in values.items() if not _is_of_one_connection(name)}
    found = {
        "statusCode": status,
        "headers": {name: texts[0] for name, texts in passed_on.items() if len(texts) == 1},
        "multiValueHeaders": {name: texts for name, texts in passed_on.items() if len(texts) > 1},
        "cookies": cookies,
    }
    text = json.dumps({key: value for key, value in found.items() if value or key == "headers"}).encode() + _DELIMITER
    if len(text) > _PRELUDE_LIMIT_BYTES:
        raise ValueError(f"the headers take {len(text)} bytes; API Gateway finds them within {_PRELUDE_LIMIT_BYTES}")
    return text


class Exchange:
    """One request and its answer, as ASGI has them. Nothing is sent before the first of the body is there."""

    def __init__(self, body: bytes, response: ResponseStream) -> None:
        self._request: bytes | None = body
        self._response = response
        self._prelude: bytes | None = None
        self.complete = False

    async def receive(self) -> Message:
        """The whole body; after it, when nobody reads on or the answer is complete, the disconnect."""
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._response.wait_until_done()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Raises `OSError` when nobody reads on, `RuntimeError` when it is not the message's turn."""
        if message["type"] == "http.response.start" and not self._response.begun:
            self._prelude = prelude(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self._prelude is not None and not self.complete:
            await self._send_body(message.get("body", b""))
            if not message.get("more_body", False):
                self.complete = True
                self._response.complete()
        else:
            raise RuntimeError(f"{message['type']} is not what comes next")

    async def _send_body(self, data: bytes) -> None:
        if not self._response.begun:
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


def _is_of_one_connection(name: str) -> bool:
    return name in _OF_ONE_CONNECTION or name.startswith("proxy-")
