"""What a function does before SnapStart takes its snapshot, so that the first request after a restore is a warm one.

It sends each route that takes a body one that is not JSON. The request passes the whole app, and ends with a 400 where
the body is parsed: before a provider, a table or a queue is asked, so nothing is billed and no connection is made. Its
log line has the request id `priming`.
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Message

from sekha_llm_bridge.access.caller import CONTEXT_FIELD, Caller
from sekha_llm_bridge.observability import code_location, logger

REQUEST_ID = "priming"
_NOT_JSON = b"{"


def prime_before_snapshot(app: FastAPI, loop: asyncio.AbstractEventLoop) -> None:
    """Registers the priming where Lambda will take a snapshot of this process; otherwise does nothing."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    try:
        import snapshot_restore_py  # type: ignore[import-untyped]  # part of Lambda's runtime, and only there
    except ImportError:
        return
    snapshot_restore_py.register_before_snapshot(prime, app, loop)


def prime(app: FastAPI, loop: asyncio.AbstractEventLoop) -> None:
    """Sends the requests. A failure is logged: it must not prevent the version from being published."""
    try:
        for path in _paths(app):
            loop.run_until_complete(_send(app, path))
    except Exception as exc:  # noqa: BLE001 — see above
        logger().warning("priming failed", extra={"code_location": code_location(exc)})


def _paths(app: FastAPI) -> Iterator[str]:
    for route in app.routes:
        if isinstance(route, Route) and "POST" in (route.methods or ()):
            yield route.path


async def _send(app: FastAPI, path: str) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": _NOT_JSON, "more_body": False}

    async def discard(_message: Message) -> None:
        pass

    await app(_scope(path), receive, discard)


def _scope(path: str) -> dict[str, Any]:
    """Returns the scope of a request, as of a caller whose key the authorizer has accepted."""
    gateway = {"requestId": REQUEST_ID, "authorizer": {CONTEXT_FIELD: Caller().context_text()}}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        "server": ("localhost", 443),
        "client": None,
        "aws.event": {"resource": path, "path": path, "httpMethod": "POST", "requestContext": gateway},
    }
