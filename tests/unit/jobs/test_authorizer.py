"""The authorizer: whose requests it lets through, what it tells the functions, and what it opens by that."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from types import ModuleType
from typing import Any

import pytest

from bridge_bench.faulty_table import FaultyTable, TableFault, faulty_table
from local_stack.authorization import AccessDeniedError, Authorization
from local_stack.invocation import Answer, buffered_answer
from local_stack.template import Authorizer
from sekha_llm_bridge.access.caller import ANYONE, CONTEXT_FIELD, Caller, KeyPolicy
from sekha_llm_bridge.access.keys.key_text import KeyText, new_key
from sekha_llm_bridge.access.keys.verifier import KeysUnavailable, KeyVerifier
from sekha_llm_bridge.jobs.authorizer import Handler, authorizer_handler
from tests.fakes.clock import FakeClock
from tests.fakes.functions import _load
from tests.fakes.keys import CREATED, FakeKeyStore

ARN = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/prod/"
CHAT = "POST/v1/chat/completions"


def event(*headers: tuple[str, str], method: str = CHAT) -> dict[str, Any]:
    """What API Gateway sends to the authorizer."""
    by_name: dict[str, list[str]] = {}
    for name, value in headers:
        by_name.setdefault(name, []).append(value)
    return {
        "type": "REQUEST",
        "methodArn": ARN + method,
        "path": "/" + method.partition("/")[2],
        "httpMethod": method.partition("/")[0],
        "headers": dict(headers),
        "multiValueHeaders": by_name,
        "requestContext": {"requestId": "gateway-request"},
    }


def bearer(key: KeyText, *, method: str = CHAT) -> dict[str, Any]:
    return event(("Authorization", f"Bearer {key.text}"), method=method)


@pytest.fixture
def store() -> FakeKeyStore:
    return FakeKeyStore()


@pytest.fixture
def authorize(store: FakeKeyStore, clock: FakeClock) -> Handler:
    return authorizer_handler(KeyVerifier(store, clock))


def is_unauthorized(handler: Handler, asked: dict[str, Any]) -> bool:
    """Whether API Gateway answers 401."""
    try:
        handler(asked, None)
    except Exception as exc:  # noqa: BLE001 — API Gateway tells them apart by the text alone
        assert str(exc) == "Unauthorized"  # noqa: PT017
        return True
    return False


def test_a_valid_key_opens_exactly_the_method_and_path_that_it_is_sent_to(
    authorize: Handler, store: FakeKeyStore
) -> None:
    key = store.add()
    answer = authorize(bearer(key), None)
    assert answer["principalId"] == key.key_id
    assert answer["policyDocument"]["Statement"] == [
        {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ARN + CHAT}
    ]


def test_the_function_gets_the_caller_and_the_keys_handle_and_no_key(authorize: Handler, store: FakeKeyStore) -> None:
    policy = KeyPolicy(models=("gpt-4o",), may_store=False)
    key = store.add(labels={"team": "ärzte"}, policy=policy)
    context = authorize(bearer(key), None)["context"]
    assert Caller.from_context_text(context[CONTEXT_FIELD]) == Caller(key.key_id, {"team": "ärzte"}, policy)
    assert context["keyId"] == key.key_id
    assert all(isinstance(value, str | int | float | bool) for value in context.values())  # API Gateway takes no others
    assert key.text not in json.dumps(context)


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "api-key"])
def test_a_key_may_be_in_each_of_the_three_headers(authorize: Handler, store: FakeKeyStore, header: str) -> None:
    text = store.add().text
    assert authorize(event((header, f"Bearer {text}" if header == "Authorization" else text)), None)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Bearer ")],
        [("Authorization", "Basic dXNlcjpwdw==")],
        [("Authorization", "Bearer sk-sekha-no")],
        [("Authorization", f"Bearer {new_key().text}")],
        [("Authorization", "Bearer schlüssel-🔑")],
        [("Authorization", "Bearer \ud800")],
        [("Authorization", "Bearer " + "x" * 10_000)],
        [("Authorization", "Bearer " + new_key().text + "\x00")],
        [("x-api-key", new_key().text), ("api-key", new_key().text)],
        [("Authorization", f"Bearer {new_key().text}"), ("Authorization", f"Bearer {new_key().text}")],
    ],
)
def test_missing_wrong_unicode_and_oversized_keys_are_a_401(authorize: Handler, headers: list[tuple[str, str]]) -> None:
    assert is_unauthorized(authorize, event(*headers))


def test_two_different_keys_are_a_401_even_if_both_are_valid(authorize: Handler, store: FakeKeyStore) -> None:
    one, two = store.add().text, store.add().text
    assert is_unauthorized(authorize, event(("Authorization", f"Bearer {one}"), ("x-api-key", two)))
    assert is_unauthorized(authorize, event(("x-api-key", one), ("x-api-key", two)))
    assert authorize(event(("Authorization", f"Bearer {one}"), ("api-key", one)), None)


def test_a_revoked_and_an_expired_key_are_a_401(authorize: Handler, store: FakeKeyStore) -> None:
    assert is_unauthorized(authorize, bearer(store.add(revoked=CREATED)))
    assert is_unauthorized(authorize, bearer(store.add(expires=CREATED)))


def test_a_key_that_is_revoked_while_it_is_in_use_is_a_401_within_a_minute(
    authorize: Handler, store: FakeKeyStore, clock: FakeClock
) -> None:
    key = store.add()
    authorize(bearer(key), None)
    store.change(key, revoked=CREATED)
    clock.advance(60)
    assert is_unauthorized(authorize, bearer(key))


def test_a_key_is_read_once_a_minute_and_a_random_text_never(authorize: Handler, store: FakeKeyStore) -> None:
    key = store.add()
    for _ in range(20):
        authorize(bearer(key), None)
        assert is_unauthorized(authorize, event(("x-api-key", "sk-sekha-abc")))
    assert store.reads == [key.key_id]


def test_without_the_table_nobody_gets_in_but_who_was_verified_in_the_last_minute(
    authorize: Handler, store: FakeKeyStore, clock: FakeClock, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    known, other = store.add(), store.add()
    authorize(bearer(known), None)
    store.take_down()
    assert authorize(bearer(known), None)["principalId"] == known.key_id
    with pytest.raises(KeysUnavailable):  # any text but "Unauthorized" is AUTHORIZER_FAILURE, a 503
        authorize(bearer(other), None)
    clock.advance(60)
    with pytest.raises(KeysUnavailable):
        authorize(bearer(known), None)
    assert "table of keys unavailable" in log.getvalue()
    assert '"KeysTableUnavailable"' in capsys.readouterr().out


def test_neither_the_log_nor_the_error_has_a_key(
    authorize: Handler, store: FakeKeyStore, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    revoked, unknown = store.add(revoked=CREATED), new_key()
    for key in (revoked, unknown):
        assert is_unauthorized(authorize, bearer(key))
    store.take_down()
    with pytest.raises(KeysUnavailable) as failure:
        authorize(bearer(store.add()), None)
    written = log.getvalue() + capsys.readouterr().out + str(failure.value)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    rejected = [(line["reason"], line["key_id"]) for line in lines if line["message"] == "API key rejected"]
    assert rejected == [("revoked", revoked.key_id), ("unknown", unknown.key_id)]
    secrets = [key.text.removeprefix("sk-sekha-")[13:] for key in (revoked, unknown)]
    assert not [secret for secret in secrets if secret in written]


@pytest.mark.parametrize("method", ["GET/v1/models/*", "GET/*", "GET/v1/models/?"])
def test_a_path_that_would_be_a_pattern_of_other_paths_is_denied(
    authorize: Handler, store: FakeKeyStore, method: str
) -> None:
    [statement] = authorize(bearer(store.add(), method=method), None)["policyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"


class _Function:
    """A handler as the gateway invokes it."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    async def invoke(self, asked: bytes, *, trace_id: str = "") -> Answer:
        answer = await asyncio.to_thread(self.handler, json.loads(asked), None)
        return await buffered_answer("application/json", json.dumps(answer).encode())


@pytest.mark.parametrize("first", ["GET/v1/models/*", "GET/v1/models/gpt", "GET/v1/models/gpt?", "GET/v1/model"])
def test_a_policy_that_a_gateway_has_cached_opens_no_other_path(
    authorize: Handler, store: FakeKeyStore, first: str
) -> None:
    """The template lets API Gateway cache nothing; this holds also for who changes that."""
    caching = Authorizer("F", ttl_s=300, identity_headers=["authorization"])
    key = store.add()
    others = [CHAT, "GET/v1/models", "GET/v1/models/gpt-4o", "DELETE/v1/models/gpt"]

    async def is_open(authorization: Authorization, method: str) -> bool:
        asked = {**bearer(key, method=method), "queryStringParameters": None}
        try:
            await authorization.context(asked)
        except AccessDeniedError:
            return False
        return True

    async def scenario() -> list[bool]:
        authorization = Authorization(caching, _Function(authorize), lambda: 0.0)
        await is_open(authorization, first)
        return [await is_open(authorization, other) for other in others]

    assert asyncio.run(scenario()) == [False] * len(others)


# --- the function itself


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyTable]:
    with faulty_table() as made:
        monkeypatch.setenv("KEYS_TABLE", "keys")
        yield made


def function() -> ModuleType:
    return _load("authorizer")


def test_with_mode_none_everybody_is_let_in_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "none")
    answer = function().handler(event(), None)
    assert Caller.from_context_text(answer["context"][CONTEXT_FIELD]) == ANYONE
    assert answer["principalId"]  # API Gateway refuses an answer without one
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"


def test_sam_local_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    monkeypatch.setenv("AWS_SAM_LOCAL", "true")
    assert function().handler(event(), None)["policyDocument"]["Statement"][0]["Effect"] == "Allow"


def test_with_mode_keys_and_no_table_the_function_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    with pytest.raises(KeyError, match="KEYS_TABLE"):
        function()


@pytest.mark.parametrize("fault", [one for one in TableFault if one is not TableFault.NONE])
def test_a_table_that_is_down_or_slow_closes_the_api_with_a_failure_and_not_with_a_401(
    table: FaultyTable, fault: TableFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    table.set_fault(fault)
    handler = function().handler
    with pytest.raises(KeysUnavailable):
        handler(bearer(new_key()), None)
    assert is_unauthorized(handler, event())  # for this, the table is not needed


def test_the_function_starts_without_fastapi_the_configuration_and_boto3() -> None:
    heavy = ("fastapi", "pydantic", "yaml", "botocore", "mangum", "aws_lambda_powertools")
    code = f"import sys, sekha_llm_bridge.jobs.authorizer; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
