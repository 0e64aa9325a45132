"""Tests that an app's scope and body equal Mangum's for the same event."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from mangum.handlers import APIGateway
from mangum.types import LambdaConfig

from sekha_llm_bridge.lambda_runtime.asgi import body_of, is_rest_event, scope_of

EVENT: dict[str, Any] = {
    "resource": "/{proxy+}",
    "path": "/v1/chat",
    "httpMethod": "POST",
    "headers": {"Host": "api.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"},
    "multiValueHeaders": {"Host": ["api.example.com"], "Accept": ["a", "b"]},
    "queryStringParameters": {"a": "2"},
    "multiValueQueryStringParameters": {"a": ["1", "2"]},
    "requestContext": {"stage": "prod", "path": "/prod/v1/chat", "identity": {"sourceIp": "203.0.113.9"}},
    "body": '{"a": "é"}',
    "isBase64Encoded": False,
}
_TEXT = some.text(some.characters(exclude_categories=["Cs"]), max_size=8)
_NAMES = some.sampled_from(["Accept", "X-A", "x-a", "Cookie", "Content-Type", "X-Forwarded-Proto"])
_EVENTS = some.fixed_dictionaries(
    {
        "resource": some.just("/{proxy+}"),
        "path": some.one_of(some.just(""), _TEXT.map("/".__add__), some.just("/a%20b%2Fc%C3%A9%zz")),
        "httpMethod": some.sampled_from(["GET", "POST", "OPTIONS"]),
        "headers": some.none() | some.dictionaries(_NAMES, _TEXT),
        "multiValueHeaders": some.none() | some.dictionaries(_NAMES, some.lists(_TEXT)),
        "queryStringParameters": some.none() | some.dictionaries(_TEXT, _TEXT),
        "multiValueQueryStringParameters": some.none() | some.dictionaries(_TEXT, some.lists(_TEXT)),
        "requestContext": some.sampled_from([{}, {"identity": {}}, {"identity": {"sourceIp": "::1"}}]),
        "body": some.none() | _TEXT,
    },
    optional={"isBase64Encoded": some.just(False)},  # noqa: FBT003 — a value, not a switch
)


@given(event=_EVENTS, base_path=some.sampled_from(["/", "", "/v1", "v1", "/prod"]))
def test_any_event_has_the_same_scope_as_in_mangum(event: dict[str, Any], base_path: str) -> None:
    assert_like_mangum(event, base_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"path": "/prod/v1/chat"},
        {"path": "/v1/caf%C3%A9%20%2F", "body": "aMOp", "isBase64Encoded": True},
        {"path": ""},
        {"headers": None, "multiValueHeaders": None, "queryStringParameters": None, "body": None},
        {"headers": None, "multiValueHeaders": None, "multiValueQueryStringParameters": None},
        {"headers": {"Host": "api.example.com:8443"}, "multiValueHeaders": None},
        {"headers": {"x-forwarded-port": "8080"}, "multiValueHeaders": {}},
        {"multiValueHeaders": {"Cookie": ["a=1", "b=2"], "X-Empty": [], "X-Odd": "text"}},
        {"multiValueQueryStringParameters": {"q": ["a b", "é", "&="], "empty": [""]}},
        {"requestContext": {}},
    ],
)
@pytest.mark.parametrize("base_path", ["/", "/prod", "prod"])
def test_an_event_has_the_same_scope_as_in_mangum(changes: dict[str, Any], base_path: str) -> None:
    assert_like_mangum(EVENT | changes, base_path)


def test_missing_fields_are_treated_as_null_fields() -> None:
    needed = {name: EVENT[name] for name in ("resource", "path", "httpMethod", "requestContext")}
    assert_like_mangum(needed, "/")


def test_a_null_identity_is_accepted() -> None:
    assert scope_of(EVENT | {"requestContext": {"identity": None}}, None, "/")["client"] == (None, 0)


@pytest.mark.parametrize(
    ("event", "expected"),
    [(EVENT, True), (EVENT | {"version": "1.0"}, False), ({"requestContext": {"http": {}}}, False), ([], False)],
)
def test_only_events_of_rest_apis_are_recognised(event: object, *, expected: bool) -> None:
    assert is_rest_event(event) is expected


def assert_like_mangum(event: dict[str, Any], base_path: str) -> None:
    config = LambdaConfig(api_gateway_base_path=base_path or "/", text_mime_types=[], exclude_headers=[])
    theirs = APIGateway(copy.deepcopy(event), context := object(), config)  # type: ignore[arg-type]  # Mangum only passes it on
    ours = scope_of(event, context, base_path)
    assert ours == {**theirs.scope, "asgi": {"version": "3.0", "spec_version": "2.4"}}
    assert list(ours) == list(theirs.scope)
    assert body_of(event) == theirs.body
