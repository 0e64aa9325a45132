"""Whether the sender of a request to an open path is a known caller, who may see everything there.

API Gateway asks the authorizer for no open path (`/`, `/health`, `/api/v1/health`), so the function verifies the key
itself.
"""

from fastapi import Request

from sekha_llm_bridge.access.auth_mode import needs_keys
from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.access.keys.dynamodb import key_store
from sekha_llm_bridge.access.keys.verifier import KeysUnavailable, KeyVerifier
from sekha_llm_bridge.api.request_state import bridge_of
from sekha_llm_bridge.observability import logger


async def is_known_caller(request: Request) -> bool:
    """Returns whether the request has a valid API key, or this bridge needs none. False where the table of keys does
    not answer.
    """
    if not needs_keys():
        return True
    try:
        return isinstance(await _verifier(request).verify(request.headers), Caller)
    except KeysUnavailable as exc:
        logger().warning("table of keys unavailable", extra={"reason": exc.message})
        return False


def _verifier(request: Request) -> KeyVerifier:
    """Returns the function's verifier, which is made for the first request that needs it."""
    state = request.app.state
    if not hasattr(state, "key_verifier"):
        bridge = bridge_of(request)
        state.key_verifier = KeyVerifier(key_store(bridge.connections, bridge.clock), bridge.clock)
    verifier: KeyVerifier = state.key_verifier
    return verifier
