"""The FastAPI app that every function starts from: request id, errors, one log line, and the way into Lambda."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from mangum import Mangum
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sekha_llm_bridge import bootstrap
from sekha_llm_bridge.api.envelope import error_response
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.errors import BridgeError, ClientDisconnected, ConfigError, RequestError, UnknownPath, WrongMethod
from sekha_llm_bridge.execution import Deadline, Receipt
from sekha_llm_bridge.observability import code_location, log_request, logger
from sekha_llm_bridge.pricing import usd_text

LONGEST_SILENCE_S = 295.0
"""For an answer in one piece: API Gateway gives up on whom it has not heard of for five minutes, of which a cold start
takes its part.
"""

_NO_LAMBDA_S = 29.0  # as long as API Gateway waits, where no Lambda says how long there is


def create_app(*, keeps_vectors: bool = False) -> FastAPI:
    """An app without routes. The bridge is made here, in Lambda's init phase, and what keeps vectors where the function
    `keeps_vectors`; a bad configuration answers every request.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.router.route_class = Route
    app.state.bridge = made = _bridge_or_error()
    if keeps_vectors and isinstance(made, Bridge):
        made.vectors()
    app.add_exception_handler(BridgeError, _on_bridge_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(RequestMiddleware)
    return app


def lambda_handler(app: FastAPI) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """The function's entry point for API Gateway events.

    The event loop is made here and kept: HTTP clients belong to the loop that they were made in. It runs once, because
    anyio imports what it needs for it then, and better now than in the first request.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(anyio.lowlevel.checkpoint())
    return Mangum(app, lifespan="off")


def bridge_of(request: Request) -> Bridge:
    """The bridge that serves this request. Raises `ConfigError` when there is none."""
    found: Bridge | ConfigError = request.app.state.bridge
    if isinstance(found, ConfigError):
        raise found
    return found


def deadline_of(request: Request) -> Deadline:
    """When this request's answer must be on its way."""
    context = request.scope.get("aws.context")
    remaining_s = context.get_remaining_time_in_millis() / 1000 if context is not None else _NO_LAMBDA_S
    return Deadline.after(remaining_s, bridge_of(request).clock)


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer, encoded once and quickly."""
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/json")


def log_receipt(request: Request, receipt: Receipt) -> None:
    """Adds to the log line who answered, after how many attempts, and what it cost."""
    cost = None if receipt.cost is None else usd_text(receipt.cost)
    attempts = [f"{attempt.provider_id}: {attempt.code}" for attempt in receipt.attempts]
    add_log_fields(request, provider=receipt.provider_id, model=receipt.model_id, attempts=attempts, cost_usd=cost)


def log_error(request: Request, error: BridgeError) -> None:
    """Adds to the log line what went wrong, after how many attempts, and what they cost."""
    add_log_fields(request, error=error.code)
    if error.attempts:
        cost = None if error.cost_usd is None else usd_text(error.cost_usd)
        add_log_fields(
            request, attempts=[f"{tried['provider_id']}: {tried['code']}" for tried in error.attempts], cost_usd=cost
        )


def unexpected(request_id: str, exc: Exception) -> BridgeError:
    """What a caller is told of a mistake of the bridge's, whose place is logged."""
    logger().error("unexpected error", extra={"request_id": request_id, "code_location": code_location(exc)})
    return BridgeError("an unexpected error; the log has more under this request_id")


def add_log_fields(request: Request, **fields: object) -> None:
    """Adds fields to the request's log line."""
    request.scope["state"]["log"].update(fields)


def _bridge_or_error() -> Bridge | ConfigError:
    try:
        return bootstrap.bridge()
    except ConfigError as exc:
        for fault in exc.faults:
            logger().error(fault)
        return exc


def _on_bridge_error(request: Request, exc: Exception) -> Response:
    error = exc if isinstance(exc, BridgeError) else BridgeError("internal error")
    log_error(request, error)
    return error_response(error, request.scope["state"]["request_id"])


def _on_http_exception(request: Request, exc: Exception) -> Response:
    """Starlette's own 404 and 405, in the envelope."""
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    error: RequestError = UnknownPath(f"there is no {request.url.path} here")
    if status == WrongMethod.status:
        taken = (headers or {}).get("Allow", "another method")
        error = WrongMethod(f"{request.url.path} does not take {request.method}; it takes {taken}")
    add_log_fields(request, error=error.code)
    return error_response(error, request.scope["state"]["request_id"], headers)


class Route(APIRoute):
    """A route whose endpoint takes the request itself, and the path's variables as text, and gives the response itself:
    FastAPI has nothing to gather for it and nothing to encode.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""

        async def handle(request: Request) -> Response:
            response: Response = await self.endpoint(request, **request.path_params)
            return response

        return handle


class RequestMiddleware:
    """The outermost layer: gives the request its id, turns whatever escapes into a 500 in the envelope, and logs one
    line.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._clock = SystemClock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        line: dict[str, object] = {"request_id": request_id, "method": scope["method"], "path": scope["path"]}
        if (context := scope.get("aws.context")) is not None:
            line["function_request_id"] = context.aws_request_id  # Lambda's own lines have no other
        scope.setdefault("state", {}).update(request_id=request_id, log=line)
        started_s = self._clock.monotonic_s()

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                line["status"] = message["status"]
            try:
                await send(message)
            except OSError:  # nobody listens any more (ASGI 2.4)
                line["error"] = ClientDisconnected.code
                raise

        try:
            await self._app(scope, receive, send_marked)
        except Exception as exc:  # noqa: BLE001 — the last line before the caller: nothing may pass, least of all a traceback
            if line.get("error") != ClientDisconnected.code:
                line["error"] = BridgeError.code
                error = unexpected(request_id, exc)
                if "status" not in line:
                    with suppress(OSError):
                        await error_response(error, request_id)(scope, receive, send_marked)
        is_gone = line.get("error") == ClientDisconnected.code
        status = line.setdefault("status", ClientDisconnected.status if is_gone else BridgeError.status)
        line["latency_ms"] = round((self._clock.monotonic_s() - started_s) * 1000)
        log_request(line, failed=not is_gone and (int(str(status)) >= 500 or _is_cut(line)))


def _is_cut(line: Mapping[str, object]) -> bool:
    """Whether an answer that had begun well did not come to its end."""
    return line.get("status") == 200 and line.get("error") is not None


def _request_id(scope: Scope) -> str:
    """API Gateway's id of the request, so that its own errors and ours can be found by the same one."""
    context = (scope.get("aws.event") or {}).get("requestContext") or {}
    return str(context.get("requestId") or uuid.uuid4())
