"""Asks the Lambda authorizer of a route, of the type REQUEST, whether a request is allowed, as API Gateway does.

Sources: AWS's guide to API Gateway, "Input to" and "Output from an API Gateway Lambda authorizer", "Gateway response
types"; for a cached policy, which is evaluated again for each method: github.com/ministackorg/ministack/pull/1367.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from local_stack.invocation import FunctionFault, Invocable, ThrottledError
from local_stack.proxy_event import encoded
from local_stack.template import Authorizer

_ACTION = "execute-api:Invoke"
_UNAUTHORIZED = "Unauthorized"
_STATEMENT_KEYS = {"Sid", "Effect", "Action", "Resource"}

Event = Mapping[str, Any]
Context = dict[str, str]


class UnauthorizedError(Exception):
    """The authorizer failed with the message "Unauthorized", or the request lacks an identity source."""


class AccessDeniedError(Exception):
    """The policy does not allow the method of the request."""


class AuthorizerFailedError(Exception):
    """The authorizer failed."""


class AuthorizerUnusableError(Exception):
    """The authorizer could not be invoked, or its answer is not an authorizer's."""


class Authorization:
    """The authorizer of an API, with its cache. `now`: the time in seconds."""

    def __init__(self, authorizer: Authorizer, function: Invocable, now: Callable[[], float]) -> None:
        self._authorizer = authorizer
        self._function = function
        self._now = now
        # Identity → until when the answer is used, and the answer.
        self._cached: dict[tuple[str, ...], tuple[float, dict[str, Any]]] = {}

    async def context(self, event: Event, *, trace_id: str = "") -> Context:
        """Returns `requestContext.authorizer` of the function's event. `event` is the authorizer's.

        Raises UnauthorizedError, AccessDeniedError, AuthorizerFailedError or AuthorizerUnusableError.
        """
        answer = await self._answer(event, trace_id)
        if not _is_allowed(answer["policyDocument"], str(event["methodArn"])):
            raise AccessDeniedError
        context = answer.get("context") or {}
        return {**{name: _text(value) for name, value in context.items()}, "principalId": answer["principalId"]}

    async def _answer(self, event: Event, trace_id: str) -> dict[str, Any]:
        identity = self._identity(event)
        until, answer = self._cached.get(identity, (0.0, {}))
        if until > self._now():
            return answer
        answer = await self._asked(event, trace_id)
        if self._authorizer.ttl_s:
            self._cached[identity] = (self._now() + self._authorizer.ttl_s, answer)
        return answer

    def _identity(self, event: Event) -> tuple[str, ...]:
        headers = {name.lower(): value for name, value in event["headers"].items()}
        query = event["queryStringParameters"] or {}
        values = [headers.get(name) for name in self._authorizer.identity_headers]
        values += [query.get(name) for name in self._authorizer.identity_query]
        if not all(values):
            raise UnauthorizedError
        return tuple(str(value) for value in values)

    async def _asked(self, event: Event, trace_id: str) -> dict[str, Any]:
        try:
            answer = await (await self._function.invoke(encoded(event), trace_id=trace_id)).read()
        except FunctionFault as fault:
            if fault.error_message == _UNAUTHORIZED:
                raise UnauthorizedError from fault
            raise AuthorizerFailedError(str(fault)) from fault
        except ThrottledError as fault:
            raise AuthorizerUnusableError("all its instances were busy") from fault
        return _checked(answer)


def _checked(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError as fault:
        raise AuthorizerUnusableError("its answer is not JSON") from fault
    if not isinstance(found, dict) or not isinstance(found.get("principalId"), str) or not found["principalId"]:
        raise AuthorizerUnusableError("its answer has no principalId")
    policy = found.get("policyDocument")
    if not isinstance(policy, dict) or not _statements(policy):
        raise AuthorizerUnusableError("its answer has no policyDocument with statements")
    context = found.get("context") or {}
    if not isinstance(context, dict) or not all(isinstance(one, str | int | float | bool) for one in context.values()):
        raise AuthorizerUnusableError("its context may have texts, numbers and booleans only")
    return found


def _is_allowed(policy: Mapping[str, Any], method_arn: str) -> bool:
    """Returns whether a statement allows the method and none denies it."""
    effects = {one.get("Effect") for one in _statements(policy) if _applies(one, method_arn)}
    return effects == {"Allow"}


def _statements(policy: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = policy.get("Statement") or []
    return found if isinstance(found, list) else [found]


def _applies(statement: Mapping[str, Any], method_arn: str) -> bool:
    if unknown := statement.keys() - _STATEMENT_KEYS:
        raise AuthorizerUnusableError(f"the local stack does not know {', '.join(sorted(unknown))} in a policy")
    actions, resources = _texts(statement.get("Action")), _texts(statement.get("Resource"))
    return _matches_any(actions, _ACTION, re.IGNORECASE) and _matches_any(resources, method_arn, re.NOFLAG)


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _matches_any(patterns: Iterable[str], text: str, flags: re.RegexFlag) -> bool:
    """Returns whether one of IAM's patterns, in which `*` and `?` stand for characters, is the whole text."""
    expressions = (re.escape(one).replace(r"\*", ".*").replace(r"\?", ".") for one in patterns)
    return any(re.fullmatch(one, text, flags | re.DOTALL) for one in expressions)


def _text(value: object) -> str:
    """Returns a value of the context as the function gets it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
