"""Tests that a handler's context equals awslambdaric's context."""

import json
from typing import Any

import pytest
from awslambdaric.lambda_context import LambdaContext

from sekha_llm_bridge.lambda_runtime.context import Context
from sekha_llm_bridge.lambda_runtime.runtime_api import Invocation

VARIABLES = {
    "AWS_LAMBDA_FUNCTION_NAME": "chat",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/chat",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01",
}
CLIENT = {
    "client": {"installation_id": "i", "app_title": "t", "app_version_name": "n", "app_version_code": "c"},
    "custom": {"a": 1},
    "w3c": {"traceparent": "00-1-2-01", "tracestate": 5, "other": "x"},
}
IDENTITY = {"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}


@pytest.mark.parametrize("client", [None, {}, CLIENT, {"client": None, "w3c": "no"}])
@pytest.mark.parametrize("identity", [None, {}, IDENTITY])
@pytest.mark.parametrize("variables", [{}, VARIABLES])
def test_the_context_has_the_same_public_attributes_as_awslambdarics(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], client: Any, identity: Any
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ours = Context(invocation(client, identity), variables, now_ms=lambda: 0)
    theirs = LambdaContext("request", json.loads(json.dumps(client)), identity, 5, "arn", "tenant")
    assert public(ours) == public(theirs)
    assert ours.w3c() == theirs.w3c()


@pytest.mark.parametrize(("now_ms", "remaining_ms"), [(0, 5000), (4999, 1), (5000, 0), (9000, 0)])
def test_the_remaining_time_ends_at_the_deadline_and_is_never_negative(now_ms: int, remaining_ms: int) -> None:
    context = Context(invocation(None, None), {}, now_ms=lambda: now_ms)
    assert context.get_remaining_time_in_millis() == remaining_ms


def test_log_writes_the_text_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    Context(invocation(None, None), {}, now_ms=lambda: 0).log("text")
    assert capsys.readouterr().out == "text"


def invocation(client: object, identity: object) -> Invocation:
    headers = {
        "lambda-runtime-aws-request-id": "request",
        "lambda-runtime-deadline-ms": "5000",
        "lambda-runtime-invoked-function-arn": "arn",
        "lambda-runtime-aws-tenant-id": "tenant",
        "lambda-runtime-client-context": "" if client is None else json.dumps(client),
        "lambda-runtime-cognito-identity": "" if identity is None else json.dumps(identity),
    }
    return Invocation.of(headers, b"{}")


def public(thing: object) -> object:
    """Returns the public attributes, recursively. A method becomes "callable"."""
    if thing is None or isinstance(thing, str | int | float | list | dict | bool):
        return thing
    if callable(thing):
        return "callable"
    return {name: public(getattr(thing, name)) for name in dir(thing) if not name.startswith("_")}
