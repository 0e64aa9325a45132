"""Chroma Cloud on loopback: a proxy before a real Chroma server that asks for the token and enforces the quotas.

Quotas: https://docs.trychroma.com/cloud/quotas-limits. The status and the beginning of the text of a refusal are those of
chroma-core/chroma pull requests 4569 and 5022; the name of the error is that of the server for `ResourceExhausted`.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

import httpx

TOKEN = "ck-cloud"
Excess = tuple[str, int, int]
_COPIED = ("content-type", "chroma-trace-id")


class ChromaCloud:
    """A proxy that runs until the context ends. `requests` are the methods and paths that passed or were refused.

    `limits` may be changed: a quota by its name.
    """

    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        self.requests: list[tuple[str, str, int]] = []
        self.limits = {
            "Number of records": 300,
            "Number of results": 300,
            "Document size (bytes)": 16_384,
            "ID size (bytes)": 128,
            "Number of metadata keys": 32,
            "Metadata key size (bytes)": 36,
            "Metadata value size (bytes)": 4_096,
            "Number of where predicates": 8,
            "Collection size (records)": 5_000_000,
        }
        handler = type("Handler", (_Handler,), {"cloud": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def excess(self, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> Excess | None:
        """Returns the first quota that the request exceeds: its name, the usage and the limit."""
        for name, usage in _usage(path, query, body):
            if usage > self.limits[name]:
                return name, usage, self.limits[name]
        return None


def _usage(path: str, query: dict[str, list[str]], body: dict[str, Any]) -> Iterator[tuple[str, int]]:
    action = path.rpartition("/")[2]
    ids = body.get("ids") or []
    if action in {"add", "upsert", "update"}:
        yield "Number of records", len(ids)
        yield from _record_usage(body)
    yield (
        "Number of results",
        max(body.get("n_results") or 0, body.get("limit") or 0, int(query.get("limit", ["0"])[0])),
    )
    if action == "get":
        yield "Number of results", len(ids)
    if action in {"get", "query"} and body.get("where"):
        yield "Number of where predicates", json.dumps(body["where"]).count("$eq") or 1


def _record_usage(body: dict[str, Any]) -> Iterator[tuple[str, int]]:
    yield "Collection size (records)", len(body["ids"])
    for one in body["ids"]:
        yield "ID size (bytes)", len(one.encode())
    for document in body.get("documents") or []:
        yield "Document size (bytes)", len((document or "").encode())
    for metadata in body.get("metadatas") or []:
        yield "Number of metadata keys", len(metadata or {})
        for key, value in (metadata or {}).items():
            yield "Metadata key size (bytes)", len(key.encode())
            yield "Metadata value size (bytes)", len(str(value).encode())


class _Handler(BaseHTTPRequestHandler):
    cloud: ClassVar[ChromaCloud]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the name in the base class
        """Logs nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlsplit(self.path)
        if self.headers.get("x-chroma-token") != TOKEN:
            return self._send(401, {"error": "AuthError", "message": "Unauthorized"})
        excess = self.cloud.excess(url.path, parse_qs(url.query), json.loads(body) if body else {})
        if excess is None:
            return self._forward(body)
        name, usage, limit = excess
        message = (
            f"Quota exceeded: '{name}' exceeded quota limit for action '{url.path.rpartition('/')[2].title()}': "
            f"current usage of {usage} exceeds limit of {limit}. Request a quota increase"
        )
        return self._send(422, {"error": "ChromaError", "message": message})

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 — the names of the base class

    def _forward(self, body: bytes) -> None:
        headers = {"content-type": self.headers.get("content-type") or "application/json"}
        answer = httpx.request(
            self.command, self.cloud.server_url + self.path, content=body, headers=headers, timeout=60
        )
        self._respond(
            answer.status_code, answer.content, {n: answer.headers[n] for n in _COPIED if n in answer.headers}
        )

    def _send(self, status: int, fields: dict[str, str]) -> None:
        self._respond(status, json.dumps(fields).encode(), {"content-type": "application/json"})

    def _respond(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.cloud.requests.append((self.command, urlsplit(self.path).path, status))
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
