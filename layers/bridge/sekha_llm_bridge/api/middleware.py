"""The outermost layer of every app: request ids, the path within the API, errors that nothing else caught, and one log
line for each request.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sekha_llm_bridge.api.caller import logged_caller
from sekha_llm_bridge.api.error_response import ErrorBody, error_response, openai_error_body
from sekha_llm_bridge.api.request_log import write_request_line
from sekha_llm_bridge.api.request_path import path_in_api
from sekha_llm_bridge.api.request_state import RequestState, unexpected_error
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.errors import ClientDisconnected

REQUEST_ID_HEADER = "x-request-id"


class RequestMiddleware:
    """Gives the request its id and its path within the API, turns an exception that nothing caught into a 500 in the
    API's error format, and logs one line.
    """

    def __init__(
        self,
        app: ASGIApp,
        error_body: ErrorBody = openai_error_body,
        request_id_headers: Sequence[str] = (REQUEST_ID_HEADER,),
        *,
        uses_models: bool = True,
    ) -> None:
        self._app = app
        self._error_body = error_body
        self._id_headers = tuple(name.encode() for name in request_id_headers)
        self._uses_models = uses_models
        self._clock = SystemClock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request. See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = path_in_api(scope)
        state = _new_state(scope)
        state.put_into(scope)
        started_s = self._clock.monotonic_s()
        try:
            await _renew_bridge(scope, uses_models=self._uses_models)
            await self._app(scope, receive, _recording(send, state, self._id_headers))
        except Exception as exc:  # noqa: BLE001 — nothing may pass the outermost layer, least of all a traceback
            if not isinstance(state.error, ClientDisconnected):
                state.error = unexpected_error(state.request_id, exc)
                if "status" not in state.log_fields:
                    with suppress(OSError):
                        response = error_response(Request(scope), state.error, error_body=self._error_body)
                        await response(scope, receive, _recording(send, state, self._id_headers))
        finally:
            await state.settle()
        latency_ms = round((self._clock.monotonic_s() - started_s) * 1000)
        write_request_line(state, logged_caller(Request(scope)), latency_ms=latency_ms, now=self._clock.now())


async def _renew_bridge(scope: Scope, *, uses_models: bool) -> None:
    """Fetches secrets and lists of models again where that is due, and puts the bridge with them into use for this
    request.
    """
    app_state = scope["app"].state
    current = await app_state.live.before_request(uses_models=uses_models)
    if current is not app_state.taken_over:
        app_state.bridge = app_state.taken_over = current


class IdempotencyMiddleware:
    """Hands a request with an `Idempotency-Key` to `api.idempotency`, which is imported only then."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request. See ASGI."""
        if scope["type"] == "http" and scope["method"] == "POST" and _has_idempotency_key(scope):
            from sekha_llm_bridge.api.idempotency import answer_once

            await answer_once(self._app, Request(scope, receive), send)
        else:
            await self._app(scope, receive, send)


def _has_idempotency_key(scope: Scope) -> bool:
    return any(name == b"idempotency-key" for name, _ in scope["headers"])


def _new_state(scope: Scope) -> RequestState:
    """The request has API Gateway's id, so that its own errors and ours are found by the same one."""
    gateway = (scope.get("aws.event") or {}).get("requestContext") or {}
    request_id = str(gateway.get("requestId") or uuid.uuid4())
    line: dict[str, object] = {"request_id": request_id, "method": scope["method"], "path": _logged_path(scope)}
    if (context := scope.get("aws.context")) is not None:
        line["function_request_id"] = context.aws_request_id  # the only id in Lambda's own log lines
    return RequestState(request_id, line)


def _logged_path(scope: Scope) -> str:
    """Returns the path for the log; the route of API Gateway where that has a variable, which may be anything: a key or
    a prompt that was put into the path by mistake.
    """
    resource = (scope.get("aws.event") or {}).get("resource")
    return resource if isinstance(resource, str) and "{" in resource else str(scope["path"])


def _recording(send: Send, state: RequestState, id_headers: Sequence[bytes]) -> Send:
    """Returns a `send` that adds the id to the response, and records its status and a disconnected client."""

    async def send_recording(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *((name, state.request_id.encode()) for name in id_headers)]
            state.log_fields["status"] = message["status"]
        elif not message.get("more_body", False):
            await state.settle()  # before the last byte: then Lambda may freeze the environment
        try:
            await send(message)
        except OSError:  # ASGI 2.4: the client has disconnected
            state.error = ClientDisconnected()
            raise

    return send_recording
