"""The runtime's main loop: loads the handler, passes SnapStart's snapshot, then serves one invocation after another.

A handler that wraps an ASGI app in its attribute `app`, as Mangum does, streams its responses to REST APIs. Everything
else behaves as under Lambda's own runtime.
"""

import asyncio
import contextlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from decimal import Decimal
from typing import Never

from sekha_llm_bridge.lambda_runtime import logs
from sekha_llm_bridge.lambda_runtime.asgi import App, Exchange, Message, is_rest_event, request_of
from sekha_llm_bridge.lambda_runtime.context import Context
from sekha_llm_bridge.lambda_runtime.error_report import (
    ErrorReport,
    ReportableError,
    handler_error_report,
    init_error_report,
)
from sekha_llm_bridge.lambda_runtime.handler import Handler, load
from sekha_llm_bridge.lambda_runtime.response import ResponseStream, request_head
from sekha_llm_bridge.lambda_runtime.runtime_api import Invocation, RuntimeApi, RuntimeApiError, require_accepted
from sekha_llm_bridge.lambda_runtime.snapshot import take_snapshot

_TRACE_ID = "_X_AMZN_TRACE_ID"
_MARGIN_S = 0.1


def main(environment: MutableMapping[str, str]) -> int:
    """Runs for the life of the environment. Returns the exit code when the Runtime API fails."""
    request_id = logs.configure_logging(environment)
    api = RuntimeApi(environment["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = _load_or_report(environment.get("_HANDLER", ""), api)
        if environment.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
            take_snapshot(api)
        Loop(api, handler, environment, request_id, now_ms=lambda: time.time_ns() // 1_000_000).run()
    except RuntimeApiError as exc:
        logs.log("ERROR", f"The Runtime API failed: {exc}", request_id.current)
        return 1


def _load_or_report(name: str, api: RuntimeApi) -> Handler:
    try:
        return load(name)
    except Exception as exc:
        logs.log_error_report(report := init_error_report(exc))
        api.fail_init(report, report.header)
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
        """Serves invocations until the Runtime API fails. Raises `RuntimeApiError`."""
        while True:
            self.serve(self._api.next_invocation())

    def serve(self, invocation: Invocation) -> None:
        """Serves one invocation: answers it, or reports its error."""
        self._request_id.current = invocation.request_id
        if invocation.trace_id is None:
            self._environment.pop(_TRACE_ID, None)
        else:
            self._environment[_TRACE_ID] = invocation.trace_id
        try:
            report = self._answer(invocation)
        except RuntimeApiError:
            raise
        except Exception as exc:  # noqa: BLE001 — every exception of a handler must be reported
            report = handler_error_report(exc)
        if report is not None:
            logs.log_error_report(report, invocation.request_id)
            logs.flush()
            self._api.fail(invocation, report)

    def _answer(self, invocation: Invocation) -> ErrorReport | None:
        """Answers the invocation. Returns an error that must still be reported, or None. An event that is no proper
        request of a REST API is the handler's."""
        event, context = invocation.event(), Context(invocation, self._environment, self._now_ms)
        request = request_of(event, context, _base_path(self._handler)) if is_rest_event(event) else None
        if callable(self._app) and request is not None:
            streaming = self._stream(self._app, *request, invocation, context)
            return self._event_loop.run_until_complete(streaming)
        body, content_type = encode_answer(self._handler(event, context))
        logs.flush()
        self._api.respond(invocation, body, content_type)
        return None

    async def _stream(
        self, app: App, scope: Message, body: bytes, invocation: Invocation, context: Context
    ) -> ErrorReport | None:
        """Streams the answer; see `_answer`. The response ends after the app, so that the app's last log lines and
        metrics are written before. It stops waiting for a slow reader shortly before Lambda would end the environment.
        """
        head = request_head(self._api.address, f"{invocation.path}/response", invocation.echo_headers)
        response = ResponseStream(self._api.address, head)
        try:
            report = await _run(app, scope, Exchange(body, response))
            if not response.has_begun:
                return report
            if report is not None and not response.is_broken:
                logs.log_error_report(report, invocation.request_id)
            logs.flush()
            left_s = context.get_remaining_time_in_millis() / 1000 - _MARGIN_S
            await response.end(report, timeout_s=max(_MARGIN_S, left_s))
        finally:
            await response.close()
        require_accepted(response.status, invocation.request_id)
        return None


async def _run(app: App, scope: Message, exchange: Exchange) -> ErrorReport | None:
    try:
        await app(scope, exchange.receive, exchange.send)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as exc:  # noqa: BLE001 — every exception of an app must be reported
        return handler_error_report(exc)
    return (
        None
        if exchange.complete
        else ErrorReport("IncompleteResponse", "The app ended without completing its response")
    )


def event_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop that the handler's module has set, because its HTTP clients belong to it; else a new one."""
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(RuntimeError):
        loop = asyncio.get_event_loop()
        if not loop.is_closed():
            return loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def encode_answer(answer: object) -> tuple[bytes, str]:
    """Returns a handler's answer as bytes, and its content type. Raises `ReportableError`."""
    if isinstance(answer, bytes):
        return answer, "application/unknown"
    try:
        return json.dumps(answer, ensure_ascii=False, default=_number).encode(), "application/json"
    except (TypeError, ValueError, RecursionError) as exc:
        message = f"Unable to encode the response: {type(exc).__name__}"
        raise ReportableError(ErrorReport("Runtime.MarshalError", message)) from exc


def _number(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError("not JSON")


def _base_path(handler: Handler) -> str:
    """Returns Mangum's setting for the base path of a custom domain."""
    config = getattr(handler, "config", None)
    return str(config.get("api_gateway_base_path", "/")) if isinstance(config, Mapping) else "/"
