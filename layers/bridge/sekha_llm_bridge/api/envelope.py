"""The one place where an error becomes an answer: OpenAI's envelope."""

import math
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from sekha_llm_bridge.errors import BridgeError, ConfigError, ProviderError
from sekha_llm_bridge.execution.receipt import cost_headers


def envelope(error: BridgeError, request_id: str) -> dict[str, Any]:
    """OpenAI's error object, with the request's id and whatever the error adds."""
    return {
        "error": {
            "message": _public_message(error),
            "type": error.type,
            "param": error.param,
            "code": error.code,
            "request_id": request_id,
            **error.details(),
        }
    }


def error_response(error: BridgeError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that an error becomes."""
    more = dict(headers or {})
    if error.attempts:
        more |= cost_headers(len(error.attempts), error.cost_usd)
        if error.retry_after_s is None:
            # What OpenAI's own clients heed: each retry of theirs would try, and may bill, everything again.
            more["x-should-retry"] = "false"
    if error.retry_after_s is not None:
        more["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return Response(orjson.dumps(envelope(error, request_id)), error.status, more, "application/json")


def _public_message(error: BridgeError) -> str:
    if isinstance(error, ConfigError):
        faults = f"the bridge's configuration has {len(error.faults)} fault(s)"
        return f"{faults}; its log names them, and so does `sekha-bridge check-config`"
    if isinstance(error, ProviderError) and error.kind.remedy:
        return f"{error.message}. {error.kind.remedy}"
    return error.message
