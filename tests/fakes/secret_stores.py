"""SSM's Parameter Store and Secrets Manager on loopback, with the bad minutes that moto does not have.

Sources: the API references of GetParameters, GetSecretValue and BatchGetSecretValue, and the pages of common errors.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.fakes.provider import FakeProvider, Received, Reply

_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"


@dataclass
class SecretStores:
    """`values` by name. `failing` is the error with which every call is answered, `denied` are the names that the
    caller may not read, `failures` errors for the next calls only. `html` answers like a proxy, `scripted` is every
    answer's body. `calls` has the action and the names of each call, `headers` its headers.
    """

    values: dict[str, str] = field(default_factory=dict)
    failing: str | None = None
    failures: list[str] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    html: bool = False
    scripted: dict[str, Any] | None = None
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead the bridge here."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"AWS_ENDPOINT_URL_SSM": url, "AWS_ENDPOINT_URL_SECRETS_MANAGER": url}

    def answer(self, action: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Returns the status and the body of the answer to one call."""
        names = body.get("Names") or body.get("SecretIdList") or [body["SecretId"]]
        self.calls.append((action, names))
        if self.scripted is not None:
            return 200, self.scripted
        if error := self.failures.pop(0) if self.failures else self.failing:
            return 500 if error.startswith("Internal") else 400, {"__type": error, "message": f"{_ARN} {error}"}
        if action == "BatchGetSecretValue":
            return self._batch(names)
        if action in self.denied or self.denied.intersection(names):
            return 400, {"__type": "AccessDeniedException", "message": f"User: {_ARN} is not authorized"}
        if action == "GetParameters":
            known = [name for name in names if name in self.values]
            rows = [{"Name": name, "Type": "SecureString", "Value": self.values[name]} for name in known]
            return 200, {"Parameters": rows, "InvalidParameters": [name for name in names if name not in known]}
        if names[0] not in self.values:
            return 400, {"__type": "ResourceNotFoundException", "Message": "Secrets Manager can't find it."}
        return 200, _secret(names[0], self.values[names[0]])

    def _batch(self, names: list[str]) -> tuple[int, dict[str, Any]]:
        if "BatchGetSecretValue" in self.denied:
            return 400, {"__type": "AccessDeniedException", "Message": "not authorized"}
        allowed = [name for name in names if name not in self.denied]
        errors = [{"SecretId": name, "ErrorCode": "AccessDeniedException"} for name in names if name in self.denied]
        errors += [
            {"SecretId": name, "ErrorCode": "ResourceNotFoundException"} for name in allowed if name not in self.values
        ]
        found = [_secret(name, self.values[name]) for name in allowed if name in self.values]
        return 200, {"SecretValues": found, "Errors": errors}


def _secret(name: str, value: str) -> dict[str, Any]:
    return {"ARN": f"{_ARN}{name}-AbCdEf", "Name": name, "SecretString": value}


def _handler(stores: SecretStores) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            stores.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, answer = stores.answer(self.headers["x-amz-target"].rpartition(".")[2], body)
            content = b"<html>502 Bad Gateway</html>" if stores.html else json.dumps(answer).encode()
            self.send_response(502 if stores.html else status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class KeyedProvider(FakeProvider):
    """A provider that accepts only the key `accepted`; `None` accepts any. `rejected` counts the other requests."""

    def __init__(self, accepted: str | None = None) -> None:
        super().__init__()
        self.accepted = accepted
        self.rejected = 0

    def reply_to(self, request: Received) -> Reply:
        """Answers 401 to any other key, as OpenAI does."""
        if self.accepted is not None and request.headers.get("authorization") != f"Bearer {self.accepted}":
            self.rejected += 1
            error = {"message": "Incorrect API key provided.", "code": "invalid_api_key"}
            return Reply(401, {"error": error})
        return super().reply_to(request)


def names_in(calls: list[tuple[str, list[str]]]) -> Iterator[int]:
    """Yields how many names each call had."""
    return (len(names) for _, names in calls)
