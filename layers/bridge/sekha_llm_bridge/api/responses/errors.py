"""The errors of the Responses API: OpenAI's envelope, with the names that its fields have here."""

import re
from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.error_response import openai_error_body
from sekha_llm_bridge.errors import BridgeError, ContextLengthExceeded

_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
}
"""The names of fields here by their names in chat completions, which providers use in their errors."""

_FAILURES = {402: "insufficient_quota", 429: "rate_limit_exceeded"}


def failure_code(error: BridgeError) -> str:
    """Returns the code of a response that failed. By it, Codex compacts a conversation that is too long, and knows what
    it would ask in vain once more.
    """
    if error.code == ContextLengthExceeded.code:
        return error.code
    return _FAILURES.get(error.status, "invalid_prompt" if error.status < 500 else "server_error")


def responses_error_body(error: BridgeError, request_id: str, details: Mapping[str, object]) -> dict[str, Any]:
    """See `openai_error_body`. `param` is the field of the request that was sent, without a path inside it where that
    is another one than in chat completions.
    """
    body = openai_error_body(error, request_id, details)
    found = re.match(r"\w+", error.param or "")
    if found is not None and found[0] in _NAMES:
        body["error"]["param"] = _NAMES[found[0]]
    return body
