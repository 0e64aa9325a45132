"""The known caller of a request to an open path, who may see what the key allows there.

API Gateway asks the authorizer for no open path (`/`, `/health`, `/api/v1/health`), so the function verifies the key
itself.
"""

from fastapi import Request

from sekha_llm_bridge.access.auth_mode import needs_keys
from sekha_llm_bridge.access.caller import ANYONE, Caller
from sekha_llm_bridge.access.keys.dynamodb import key_store
from sekha_llm_bridge.access.keys.verifier import KeysUnavailable, KeyVerifier
from sekha_llm_bridge.api.request_state import whole_bridge_of
from sekha_llm_bridge.observability import logger


async def known_caller(request: Request) -> Caller | None:
    """Returns the caller whose valid API key the request has; `ANYONE` where this bridge needs no keys. None for
    anybody else, and where the table of keys does not answer.
    """
    if not needs_keys():
        return ANYONE
    try:
        verdict = await _verifier(request).verify(request.headers)
    except KeysUnavailable as exc:
        logger().warning("table of keys unavailable", extra={"reason": exc.message})
        return None
    return verdict if isinstance(verdict, Caller) else None


def _verifier(request: Request) -> KeyVerifier:
    """Returns the function's verifier, which is made for the first request that needs it."""
    state = request.app.state
    if not hasattr(state, "key_verifier"):
        bridge = whole_bridge_of(request)
        state.key_verifier = KeyVerifier(key_store(bridge.connections, bridge.clock), bridge.clock)
    verifier: KeyVerifier = state.key_verifier
    return verifier
