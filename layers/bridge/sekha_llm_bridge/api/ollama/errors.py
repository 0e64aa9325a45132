"""Ollama's error envelope. Source: Ollama's API documentation, "Errors"."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.error_response import public_message
from sekha_llm_bridge.errors import BridgeError


def ollama_error_body(error: BridgeError, request_id: str, details: Mapping[str, object]) -> dict[str, Any]:
    """Returns the message as Ollama's clients read it, with the bridge's own code, the parameter and the details."""
    bridge = {"code": error.code, "param": error.param, "request_id": request_id, **details, **error.details()}
    return {"error": public_message(error), "bridge": bridge}
