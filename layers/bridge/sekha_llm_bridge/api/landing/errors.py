"""The error envelope for a path that no function has: the client may be one of any API.

API Gateway's own errors have the same (GatewayResponses in `template.yaml`).
"""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.error_response import openai_error_body
from sekha_llm_bridge.errors import BridgeError

REQUEST_ID_HEADERS = ("x-request-id", "request-id")


def error_body_of_any_api(error: BridgeError, request_id: str, details: Mapping[str, object]) -> dict[str, Any]:
    """Returns OpenAI's error object, with what Anthropic's clients read beside it. Paths of Ollama's API
    have its own error (`endpoint.ollamas_other_path`)."""
    return {**openai_error_body(error, request_id, details), "type": "error", "request_id": request_id}
