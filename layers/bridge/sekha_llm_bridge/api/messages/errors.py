"""Anthropic's error envelope. Source: platform.claude.com, API reference, "Errors"."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.error_response import public_message
from sekha_llm_bridge.errors import BridgeError, ContextLengthExceeded, FailureKind

REQUEST_ID_HEADERS = ("request-id", "x-request-id")

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",  # Anthropic's status for it is 529
    504: "timeout_error",
    529: "overloaded_error",
}
_TOO_LONG = "prompt is too long"
_DETAILS_OF_PARAMS = {
    # Anthropic's own client then sends the whole conversation, without a thread.
    "thread": {"details": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}},
}


def anthropic_error_body(error: BridgeError, request_id: str, details: Mapping[str, object]) -> dict[str, Any]:
    """Returns Anthropic's error object, with the bridge's own code, the parameter and the details beside it."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {
        "type": "error",
        "error": {
            "type": kind,
            "message": _message(error),
            "code": error.code,
            "param": error.param,
            **_DETAILS_OF_PARAMS.get(error.param or "", {}),
            **details,
            **error.details(),
        },
        "request_id": request_id,
    }


def _message(error: BridgeError) -> str:
    """Returns the sentence for the caller. For a prompt that is too long, it begins with Anthropic's own words: agents
    look for them, and for the two numbers, and shorten the conversation.
    """
    message = public_message(error)
    if error.code != FailureKind.CONTEXT_LENGTH_EXCEEDED.code:
        return message
    if isinstance(error, ContextLengthExceeded) and error.prompt_tokens is not None:
        return f"{_TOO_LONG}: {error.prompt_tokens} tokens > {error.max_tokens} maximum. {message}"
    return f"{_TOO_LONG}: {message}"
