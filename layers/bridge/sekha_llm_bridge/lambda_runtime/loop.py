"""The life of an execution environment: load the handler, be restored, then one invocation after the other.

A handler that wraps an ASGI app (Mangum's does, as `app`) streams its answers to a REST API; everything else is as
under Lambda's own runtime.
"""

import asyncio
import contextlib
import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from decimal import Decimal
from typing import Any, Never

from sekha_llm_bridge.lambda_runtime import logs
from sekha_llm_bridge.lambda_runtime.asgi import App, Exchange, Message, body_of, is_rest_event, scope_of
from sekha_llm_bridge.lambda_runtime.context import Context
from sekha_llm_bridge.lambda_runtime.faults import Fault, FaultError, handler_fault, init_fault
from sekha_llm_bridge.lambda_runtime.response import ResponseStream, request_head
from sekha_llm_bridge.lambda_runtime.runtime_api import Invocation, RuntimeApi, RuntimeApiError, settle
from sekha_llm_bridge.lambda_runtime.snapshot import pass_snapshot

Handler = Callable[[Any, Context], Any]
_TRACE_ID = "_X_AMZN_TRACE_ID"
_MARGIN_S = 0.1


def main(environment: MutableMapping[str, str]) -> int:
    """Runs as long as the environment lives. Returns the exit code when something ends it before."""
    request_id = logs.set_up(environment)
    api = RuntimeApi(environment["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = _load_or_report(environment.get("_HANDLER", ""), api)
        if environment.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
            pass_snapshot(api)
        Loop(api, handler, environment, request_id, now_ms=lambda: time.time_ns() // 1_000_000).run()
    except RuntimeApiError as exc:
        logs.log("ERROR", f"The Runtime API failed: {exc}", request_id.current)
        return 1


def load(name: str) -> Handler:
    """The handler that `_HANDLER` names: `module.attribute`, the module also with slashes. Raises `FaultError`."""
    path, dot, attribute = name.rpartition(".")
    if not dot:
        raise FaultError(Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': it is to be module.attribute"))
    if path.split(".")[0] in sys.builtin_module_names:
        message = f"Cannot use built-in module {path} as a handler module"
        raise FaultError(Fault("Runtime.BuiltInModuleConflict", message))
    module = _import(path)
    if not hasattr(module, attribute):
        raise FaultError(Fault("Runtime.HandlerNotFound", f"Handler '{attribute}' missing on module '{path}'"))
    handler: Handler = getattr(module, attribute)
    return handler


def _import(path: str) -> object:
    try:
        return importlib.import_module(path.replace("/", "."))
    except ImportError as exc:
        raise FaultError(Fault("Runtime.ImportModuleError", f"Unable to import module '{path}': {exc}")) from exc
    except SyntaxError as exc:
        place = f'  File "{exc.filename}" Line {exc.lineno}\n    {exc.text}'
        message = f"Syntax error in module '{path}': {exc}"
        raise FaultError(Fault("Runtime.UserCodeSyntaxError", message, (place,))) from exc


def _load_or_report(name: str, api: RuntimeApi) -> Handler:
    try:
        return load(name)
    except Exception as exc:
        logs.log_fault(fault := init_fault(exc))
        api.fail_init(fault, fault.header)
        raise SystemExit(1) from exc


class Loop:
    """Serves the invocations of one execution environment. `now_ms` is the wall clock, in Unix milliseconds."""

    def __init__(
        self,
        api: RuntimeApi,
        handler: Handler,
        environment: MutableMapping[str, str],
        request_id: logs.RequestId,
        now_ms: Callable[[], int],
    ) -> None:
        self._api = api
        self._handler = handler
        self._app: App | None = getattr(handler, "app", None)
        self._environment = environment
        self._request_id = request_id
        self._now_ms = now_ms
        self._event_loop = event_loop()

    def run(self) -> Never:
        """Until the Runtime API fails: `RuntimeApiError`."""
        while True:
            self.serve(self._api.next_invocation())

    def serve(self, invocation: Invocation) -> None:
        """One invocation, answered or reported as failed."""
        self._request_id.current = invocation.request_id
        self._set_trace_id(invocation.trace_id)
        try:
            fault = self._answer(invocation)
        except RuntimeApiError:
            raise
        except Exception as exc:  # noqa: BLE001 — whatever a handler raises is to be reported
            fault = handler_fault(exc)
        if fault is not None:
            logs.log_fault(fault, invocation.request_id)
            logs.flush()
            self._api.fail(invocation, fault)

    def _answer(self, invocation: Invocation) -> Fault | None:
        """Returns the failure that is still to be reported."""
        event, context = invocation.event(), Context(invocation, self._environment, self._now_ms)
        if callable(self._app) and is_rest_event(event):
            scope = scope_of(event, context, _base_path(self._handler))
            streaming = self._stream(self._app, scope, body_of(event), invocation, context)
            return self._event_loop.run_until_complete(streaming)
        body, content_type = marshal(self._handler(event, context))
        logs.flush()
        self._api.respond(invocation, body, content_type)
        return None

    async def _stream(
        self, app: App, scope: Message, body: bytes, invocation: Invocation, context: Context
    ) -> Fault | None:
        """As `_answer`. The response ends after the app: what the app logs and counts last is out by then. It does not
        wait for a slow reader up to the moment when Lambda would end the environment.
        """
        head = request_head(self._api.address, f"{invocation.path}/response", invocation.echoed)
        response = ResponseStream(self._api.address, head)
        try:
            fault = await _run(app, scope, Exchange(body, response))
            if not response.begun:
                return fault
            if fault is not None and not response.broken:
                logs.log_fault(fault, invocation.request_id)
            logs.flush()
            left_s = context.get_remaining_time_in_millis() / 1000 - _MARGIN_S
            await response.end(fault, limit_s=max(_MARGIN_S, left_s))
        finally:
            await response.close()
        settle(response.status, invocation.request_id)
        return None

    def _set_trace_id(self, trace_id: str | None) -> None:
        if trace_id is None:
            self._environment.pop(_TRACE_ID, None)
        else:
            self._environment[_TRACE_ID] = trace_id


async def _run(app: App, scope: Message, exchange: Exchange) -> Fault | None:
    try:
        await app(scope, exchange.receive, exchange.send)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as exc:  # noqa: BLE001 — whatever an app raises is to be reported
        return handler_fault(exc)
    return None if exchange.complete else Fault("IncompleteResponse", "The app ended without completing its response")


def event_loop() -> asyncio.AbstractEventLoop:
    """The one that the handler's module has set, for its HTTP clients belong to that; else a new one."""
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(RuntimeError):
        loop = asyncio.get_event_loop()
        if not loop.is_closed():
            return loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def marshal(answer: object) -> tuple[bytes, str]:
    """A handler's answer and its content type. Raises `FaultError`."""
    if isinstance(answer, bytes):
        return answer, "application/unknown"
    try:
        return json.dumps(answer, ensure_ascii=False, default=_number).encode(), "application/json"
    except (TypeError, ValueError, RecursionError) as exc:
        message = f"Unable to marshal the response: {type(exc).__name__}"
        raise FaultError(Fault("Runtime.MarshalError", message)) from exc


def _number(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError("no JSON")


def _base_path(handler: Handler) -> str:
    """Mangum's setting for what a custom domain puts before the path."""
    config = getattr(handler, "config", None)
    return str(config.get("api_gateway_base_path", "/")) if isinstance(config, Mapping) else "/"
