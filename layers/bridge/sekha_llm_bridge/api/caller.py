"""The caller of a request: the key that the authorizer has verified, or nobody in particular where no keys are needed.

`AUTH_MODE` is `keys` or `none`. `sam local` and the local stack without `--auth` use `none`.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from sekha_llm_bridge.access.auth_mode import needs_keys
from sekha_llm_bridge.access.caller import ANYONE, CONTEXT_FIELD, Caller
from sekha_llm_bridge.errors import AuthenticationFailed

NO_KEY = (
    "an API key is needed: send it as `Authorization: Bearer <key>` or as `x-api-key`. Whoever runs this bridge"
    " makes keys with `sekha-bridge keys create`"
)
_STATE_KEY = "caller"


def caller_of(request: Request) -> Caller:
    """Returns the caller. Raises `AuthenticationFailed` where keys are needed and the authorizer has verified none: a
    function is closed even if a route were left without its authorizer.
    """
    state = request.scope.setdefault("state", {})
    caller: Caller | None = state.get(_STATE_KEY)
    if caller is None:
        caller = state[_STATE_KEY] = _caller(request.scope.get("aws.event") or {})
    return caller


def logged_caller(request: Request) -> Caller:
    """Returns the caller for the log line; nobody in particular where there is none."""
    try:
        return caller_of(request)
    except AuthenticationFailed:
        return ANYONE


def _caller(event: Mapping[str, Any]) -> Caller:
    if not needs_keys():
        return ANYONE
    context = (event.get("requestContext") or {}).get("authorizer")
    text = context.get(CONTEXT_FIELD) if isinstance(context, Mapping) else None
    if not isinstance(text, str):
        raise AuthenticationFailed(NO_KEY)
    try:
        return Caller.from_context_text(text)
    except ValueError as exc:
        raise AuthenticationFailed("the policy of this API key was written by another version of the bridge") from exc
