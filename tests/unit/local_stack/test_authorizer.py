"""The gateway asks an authorizer as API Gateway does: who passes, who does not, and what the function is told."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from local_stack.authorization import (
    AccessDeniedError,
    Authorization,
    AuthorizerFailedError,
    AuthorizerUnusableError,
    UnauthorizedError,
)
from local_stack.invocation import Answer, FaultKind, FunctionFault, ThrottledError, buffered_answer
from local_stack.proxy_event import HttpRequest, Ids, to_authorizer_event
from local_stack.routes import Match
from local_stack.template import Authorizer, Route

ARN = "arn:aws:execute-api:eu-west-1:123456789012:local/prod/"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Deciding:
    """An authorizer's function: gives the answers of a test, and keeps the events."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.events: list[dict[str, Any]] = []

    async def invoke(self, event: bytes, *, trace_id: str = "") -> Answer:
        self.events.append(json.loads(event))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return await buffered_answer("application/json", json.dumps(answer).encode())


def policy(*statements: tuple[str, str | list[str]], **fields: object) -> dict[str, Any]:
    """An authorizer's answer: effect and resource of each statement."""
    made = [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": which} for effect, which in statements]
    return {"principalId": "key_1", "policyDocument": {"Version": "2012-10-17", "Statement": made}, **fields}


def event(path: str = "/v1/models", *, method: str = "GET", headers: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The event of an authorizer."""
    request = HttpRequest(method, path, "", (("Host", "x"), *headers), b'{"secret": 1}', "10.0.0.9")
    match = Match(Route("/v1/{rest+}", "ANY", "F"), {"rest": "models"})
    ids = Ids("r-1", "x-1", "Root=1-a-b")
    return to_authorizer_event(request, match, ids, stage="prod", region="eu-west-1", now=datetime.now(UTC))


def asked(function: Deciding, *events: dict[str, Any], authorizer: Authorizer | None = None) -> list[Mapping[str, str]]:
    """The contexts that the events lead to, in order."""
    authorization = Authorization(authorizer or Authorizer("F"), function, Clock())

    async def all_of_them() -> list[Mapping[str, str]]:
        return [await authorization.context(one) for one in events]

    return asyncio.run(all_of_them())


def test_the_event_has_the_method_and_the_path_as_sent_but_no_body() -> None:
    made = event("/v1/models/a%2Fb", method="POST", headers=(("X-Api-Key", "k"),))
    assert (made["type"], made["methodArn"]) == ("REQUEST", f"{ARN}POST/v1/models/a%2Fb")
    assert (made["resource"], made["headers"]["X-Api-Key"]) == ("/v1/{rest+}", "k")
    assert not {"body", "isBase64Encoded"} & made.keys()
    assert event("/")["methodArn"] == f"{ARN}GET/"


def test_the_function_is_told_the_context_as_texts_and_the_principal() -> None:
    function = Deciding(policy(("Allow", f"{ARN}GET/v1/models"), context={"a": "x", "b": 2, "c": True}))
    assert asked(function, event()) == [{"a": "x", "b": "2", "c": "true", "principalId": "key_1"}]


@pytest.mark.parametrize(
    "statements",
    [
        [("Allow", f"{ARN}GET/v1/model")],
        [("Allow", f"{ARN}POST/v1/models")],
        [("Allow", "*"), ("Deny", f"{ARN}GET/*")],
        [("Deny", f"{ARN}GET/v1/models")],
        [("Allow", [f"{ARN}GET/v1/model?s"])],
    ],
)
def test_a_policy_that_does_not_allow_this_method_denies_access(statements: list[tuple[str, str]]) -> None:
    with pytest.raises(AccessDeniedError):
        asked(Deciding(policy(*statements)), event())


@pytest.mark.parametrize("resource", ["*", f"{ARN}*", f"{ARN}GET/v1/model?", ["x", f"{ARN}GET/v1/models"]])
def test_patterns_and_lists_of_resources_allow_what_they_match(resource: str | list[str]) -> None:
    assert asked(Deciding(policy(("Allow", resource))), event())


def test_an_error_called_unauthorized_is_a_401_and_any_other_failure_is_not() -> None:
    unauthorized = FunctionFault(FaultKind.UNHANDLED, "Exception: Unauthorized", error_message="Unauthorized")
    with pytest.raises(UnauthorizedError):
        asked(Deciding(unauthorized), event())
    other = FunctionFault(FaultKind.UNHANDLED, "Exception: Unauthorized key", error_message="Unauthorized key")
    for fault in (other, FunctionFault(FaultKind.TIMED_OUT, "Task timed out after 5.00 seconds")):
        with pytest.raises(AuthorizerFailedError):
            asked(Deciding(fault), event())


@pytest.mark.parametrize(
    "answer",
    [
        ThrottledError(),
        "allow",
        {"principalId": "", "policyDocument": policy(("Allow", "*"))["policyDocument"]},
        {"principalId": "key_1", "policyDocument": {}},
        policy(("Allow", "*"), context={"nested": {"a": 1}}),
        {"principalId": "a", "policyDocument": {"Statement": [{"Effect": "Allow", "NotResource": "x"}]}},
    ],
)
def test_an_answer_that_is_not_an_authorizers_never_lets_a_request_pass(answer: object) -> None:
    with pytest.raises(AuthorizerUnusableError):
        asked(Deciding(answer), event())


def test_without_a_ttl_each_request_is_decided_anew() -> None:
    function = Deciding(policy(("Allow", "*")))
    asked(function, event(), event())
    assert len(function.events) == 2


CACHING = Authorizer("F", ttl_s=60, identity_headers=["x-api-key"])


def test_a_cached_policy_is_used_for_the_same_identity_and_evaluated_for_each_method() -> None:
    function = Deciding(policy(("Allow", f"{ARN}GET/v1/models")))
    mine, other_path = event(headers=(("X-API-Key", "a"),)), event("/v1/other", headers=(("x-api-key", "a"),))
    asked(function, mine, mine, event(headers=(("x-api-key", "b"),)), authorizer=CACHING)
    assert len(function.events) == 2
    with pytest.raises(AccessDeniedError):
        asked(function, mine, other_path, authorizer=CACHING)
    assert len(function.events) == 3


def test_a_cached_policy_ends_and_a_failure_is_not_cached() -> None:
    fault = FunctionFault(FaultKind.UNHANDLED, "Bug: x", error_message="x")
    function, clock = Deciding(fault, policy(("Allow", "*"))), Clock()
    authorization, mine = Authorization(CACHING, function, clock), event(headers=(("x-api-key", "a"),))
    with pytest.raises(AuthorizerFailedError):
        asyncio.run(authorization.context(mine))
    for _ in range(2):
        asyncio.run(authorization.context(mine))
    clock.now_s += 61
    asyncio.run(authorization.context(mine))
    assert len(function.events) == 3


def test_a_request_without_an_identity_source_is_refused_without_asking() -> None:
    function = Deciding(policy(("Allow", "*")))
    with pytest.raises(UnauthorizedError):
        asked(function, event(), authorizer=CACHING)
    assert function.events == []
