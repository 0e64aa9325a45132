"""The Lambda authorizer of the API: tells API Gateway who sends a request, or that nobody may send it.

API Gateway asks it before every request, and passes its `context` on to the function that serves the request. Input
and output are those of a REQUEST authorizer:
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html and
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
"""

from collections.abc import Callable, Mapping
from typing import Any

from sekha_llm_bridge.access.auth_mode import needs_keys
from sekha_llm_bridge.access.caller import ANYONE, CONTEXT_FIELD, Caller
from sekha_llm_bridge.access.keys.dynamodb import key_store
from sekha_llm_bridge.access.keys.key_text import KeyText
from sekha_llm_bridge.access.keys.record import Rejection
from sekha_llm_bridge.access.keys.verifier import Headers, KeysUnavailable, KeyVerifier, key_of
from sekha_llm_bridge.aws.function_logs import quiet_libraries
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.connections import Connections, new_event_loop

KEY_ID_FIELD = "keyId"
"""The field of the context that has the key's handle, for access logs (`$context.authorizer.keyId`)."""

_NOBODY = "anyone"  # API Gateway requires a principal
_PATTERN_CHARACTERS = frozenset("*?")

Event = Mapping[str, Any]
Handler = Callable[[Event, object], dict[str, Any]]


def authorizer_handler(verifier: KeyVerifier | None = None) -> Handler:
    """Returns the Lambda handler. Without a `verifier`, keys are verified by the table that KEYS_TABLE names, where the
    bridge needs keys. The event loop is kept, because connections belong to it.

    The handler raises an exception with the text `Unauthorized`, which API Gateway makes a 401, for a request without a
    valid key; here, so that the traceback that the runtime logs is short. It raises another one where the key could not
    be verified; API Gateway makes it AUTHORIZER_FAILURE, a 503. An event that is no request of API Gateway's to an
    authorizer gets a warning and an answer without a policy, which opens nothing.
    """
    quiet_libraries()
    if verifier is None and needs_keys():
        clock = SystemClock()
        verifier = KeyVerifier(key_store(Connections(clock), clock), clock)
    loop = new_event_loop()

    def handler(event: Event, context: object) -> dict[str, Any]:
        if not _is_request(event):
            from sekha_llm_bridge.aws.unknown_event import warn_of_unknown_event  # few functions ever need it

            warn_of_unknown_event(event, context)
            return {}
        answer = loop.run_until_complete(authorize(event, verifier))
        if answer is None:
            raise Exception("Unauthorized")  # noqa: TRY002 — as AWS documents it
        return answer

    return handler


def _is_request(event: object) -> bool:
    """Returns whether an event asks about a method of the API."""
    if not isinstance(event, Mapping) or not isinstance(event.get("methodArn"), str):
        return False
    return all(isinstance(event.get(key) or {}, Mapping) for key in ("headers", "multiValueHeaders", "requestContext"))


async def authorize(event: Event, verifier: KeyVerifier | None) -> dict[str, Any] | None:
    """Returns the policy and the context for one request; None for one without a valid key. `verifier` is None where no
    keys are needed. Raises `KeysUnavailable`.
    """
    caller = ANYONE if verifier is None else await _verified(event, verifier)
    if caller is None:
        return None
    return {
        "principalId": caller.key_id or _NOBODY,
        "policyDocument": {"Version": "2012-10-17", "Statement": [_statement(str(event["methodArn"]))]},
        "context": {CONTEXT_FIELD: caller.context_text(), KEY_ID_FIELD: caller.key_id},
    }


def _statement(method_arn: str) -> dict[str, str]:
    """Returns the statement that allows this method and path alone, so that it opens no other one even where API
    Gateway keeps the policy. A path with a character of IAM's patterns would be a pattern for other paths, and is
    denied; no path of the bridge has one.
    """
    effect = "Deny" if _PATTERN_CHARACTERS & set(method_arn) else "Allow"
    return {"Action": "execute-api:Invoke", "Effect": effect, "Resource": method_arn}


async def _verified(event: Event, verifier: KeyVerifier) -> Caller | None:
    headers: Headers = event.get("multiValueHeaders") or event.get("headers") or {}
    try:
        verdict = await verifier.verify(headers)
    except KeysUnavailable as exc:
        _report_unavailable(exc)
        raise
    if isinstance(verdict, Caller):
        return verdict
    _report_rejection(event, headers, verdict)
    return None


def _report_rejection(event: Event, headers: Headers, rejection: Rejection) -> None:
    """Logs why a request is rejected: its answer does not say it, because API Gateway has one text for all."""
    from sekha_llm_bridge.observability import logger  # not needed by most requests

    key = key_of(headers)
    request_id = (event.get("requestContext") or {}).get("requestId")
    fields = {"reason": rejection.name.lower(), "request_id": request_id, "path": event.get("path")}
    logger().info("API key rejected", extra={**fields, "key_id": key.key_id if isinstance(key, KeyText) else None})


def _report_unavailable(exc: KeysUnavailable) -> None:
    from sekha_llm_bridge.observability import Metric, count, logger

    logger().warning("table of keys unavailable", extra={"reason": exc.message})
    count(Metric.KEYS_UNAVAILABLE)
