"""The one place where an error becomes an answer, in the error format of the app's API."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from sekha_llm_bridge.api.request_state import state_of
from sekha_llm_bridge.errors import BridgeError, ConfigError, ProviderError
from sekha_llm_bridge.execution.attempts import Attempt

ErrorBody = Callable[[BridgeError, str, Mapping[str, object]], dict[str, Any]]
"""Makes the JSON body of an error answer from the error, the request's id, and further details."""


def openai_error_body(error: BridgeError, request_id: str, details: Mapping[str, object]) -> dict[str, Any]:
    """Returns OpenAI's error object, with the request's id, the details, and those of the error itself. Beside it,
    `detail` has the message, because clients of v1 (the JavaScript SDK) read it there.
    """
    message = public_message(error)
    return {
        "error": {
            "message": message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            "request_id": request_id,
            **details,
            **error.details(),
        },
        "detail": message,
    }


def error_response(
    request: Request,
    error: BridgeError,
    *,
    headers: Mapping[str, str] | None = None,
    details: Mapping[str, object] | None = None,
    error_body: ErrorBody | None = None,
) -> Response:
    """Records `error` as the request's end, and returns the answer, with all attempts and their cost. `error_body` is
    that of the app where it is not given.
    """
    state = state_of(request)
    state.error = error
    report = state.report()
    sent = {**(headers or {}), **report.headers()}
    if error.retry_after_s is not None:
        sent["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if report.attempts and (error.retry_after_s is None or may_have_been_billed(report.attempts)):
        # OpenAI's clients obey it: each of their retries would try, and may bill, everything again.
        sent["x-should-retry"] = "false"
    make_body: ErrorBody = error_body or request.app.state.error_body
    body = make_body(error, state.request_id, {**report.error_details(), **(details or {})})
    return Response(orjson.dumps(body), error.status, sent, "application/json")


def may_have_been_billed(attempts: Sequence[Attempt]) -> bool:
    """Returns whether a provider may have billed any of the attempts."""
    return any(attempt.cost_bound_usd is None or attempt.cost_bound_usd > 0 for attempt in attempts)


def public_message(error: BridgeError) -> str:
    """Returns the sentence for the caller: without secrets, and with the provider's own words where there are some."""
    if isinstance(error, ConfigError):
        faults = f"the bridge's configuration has {len(error.faults)} fault(s)"
        return f"{faults}; its log names them, and so does `sekha-bridge check-config`"
    if isinstance(error, ProviderError):
        sentence = f"{error.message}. {error.kind.remedy}" if error.kind.remedy else error.message
        text = error.failure.provider_text
        return f"{sentence}. The provider's message: {text}" if text else sentence
    return error.message
