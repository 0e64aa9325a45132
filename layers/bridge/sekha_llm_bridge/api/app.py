"""The FastAPI app that every function starts from, and the entry point for Lambda."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from sekha_llm_bridge.access.auth_mode import needs_keys
from sekha_llm_bridge.api.error_response import ErrorBody, error_response, openai_error_body
from sekha_llm_bridge.api.http_events import HttpEventHandler
from sekha_llm_bridge.api.middleware import REQUEST_ID_HEADER, IdempotencyMiddleware, RequestMiddleware
from sekha_llm_bridge.api.priming import prime_before_snapshot
from sekha_llm_bridge.api.request_state import answer_headers_of
from sekha_llm_bridge.aws.function_logs import quiet_libraries
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.bootstrap.live import live_bridge
from sekha_llm_bridge.config.secret_source import SecretUse
from sekha_llm_bridge.connections import new_event_loop
from sekha_llm_bridge.errors import BridgeError, RequestError, UnknownPath, WrongMethod


def create_app(
    *,
    secrets: SecretUse = SecretUse.NONE,
    uses_models: bool = True,
    uses_vectors: bool = False,
    asks_models: bool = False,
    error_body: ErrorBody = openai_error_body,
    request_id_headers: tuple[str, ...] = (REQUEST_ID_HEADER,),
) -> FastAPI:
    """Returns an app without routes. `secrets` are the stored secrets that it reads. `uses_models`: it has to know
    which models there are, so it reads the lists of providers with `models: auto`. `asks_models`: its requests are
    billed, so that they may have an `Idempotency-Key`. `error_body` is the error format of its API,
    `request_id_headers` the headers in which its answers have the request's id.

    The bridge is made here, in Lambda's init phase; what stores vectors is made with it where the function uses it. A
    configuration that cannot be used is the answer to every request. Raises `ValueError` where AUTH_MODE has a wrong
    value: then the function does not start.
    """
    quiet_libraries()
    needs_keys()
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.router.route_class = Route
    app.state.error_body = error_body
    app.state.live = live_bridge(secrets)
    app.state.bridge = app.state.taken_over = app.state.live.current
    if uses_vectors and isinstance(app.state.bridge, Bridge):
        app.state.bridge.vectors()
    app.add_exception_handler(BridgeError, _on_bridge_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    if asks_models:
        app.add_middleware(IdempotencyMiddleware)
    app.add_middleware(
        RequestMiddleware, error_body=error_body, request_id_headers=request_id_headers, uses_models=uses_models
    )
    return app


def lambda_handler(app: FastAPI) -> Callable[[Any, Any], dict[str, Any]]:
    """Returns the function's entry point, which serves HTTP requests and answers every other event with a warning.

    The event loop is made here and kept, because HTTP clients belong to the loop in which they were made.
    """
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    prime_before_snapshot(app, loop)
    return HttpEventHandler(app)


def json_response(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Returns a JSON answer, encoded by orjson."""
    return Response(orjson.dumps(body), status, headers, "application/json")


def answer_response(request: Request, body: object) -> Response:
    """Returns a JSON answer that models gave, with the headers that name them and their cost."""
    return json_response(body, headers=dict(answer_headers_of(request)))


async def _on_bridge_error(request: Request, exc: Exception) -> Response:
    return error_response(request, exc if isinstance(exc, BridgeError) else BridgeError("internal error"))


async def _on_http_exception(request: Request, exc: Exception) -> Response:
    """Answers Starlette's own 404 and 405 in the API's error format."""
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    path: str = request.scope["path"]  # the request's URL cannot be parsed with every Host header
    if status == WrongMethod.status:
        allowed = (headers or {}).get("Allow", "another method")
        error: RequestError = WrongMethod(f"{path} does not take {request.method}; it takes {allowed}")
    else:
        from sekha_llm_bridge.api.paths import unknown_path_message  # its patterns would cost every start time

        error = UnknownPath(unknown_path_message(path))
    return error_response(request, error, headers=headers)


class Route(APIRoute):
    """A route whose endpoint takes the request itself, and the path's variables as text, and returns the response
    itself. It replaces FastAPI's handling of a request: there is nothing to parse or encode, and no dependency to
    close. Where it takes GET, it takes HEAD.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.methods and "GET" in self.methods:
            self.methods.add("HEAD")
        self.app = self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response: Response = await self.endpoint(request, **request.path_params)
        await response(scope, receive, send)
