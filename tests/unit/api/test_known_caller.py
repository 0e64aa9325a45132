"""What the open paths show to whom: everything to a caller with a valid key, whether the bridge is healthy to others."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from sekha_llm_bridge.access.caller import CONTEXT_FIELD, Caller, KeyPolicy
from sekha_llm_bridge.access.keys.key_text import KeyText, new_key
from sekha_llm_bridge.access.keys.verifier import KeyVerifier
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.resilience import ProviderRecord
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.functions import FakeContext, Function, FunctionResponse, rest_event
from tests.fakes.keys import CREATED, FakeKeyStore
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, make_settings, provider

OPEN = [("health", "/health"), ("health", "/api/v1/health"), ("landing", "/")]
BROWSER = "text/html"
each_open_path = pytest.mark.parametrize(("name", "path"), OPEN)


@pytest.fixture
def store() -> FakeKeyStore:
    return FakeKeyStore()


@pytest.fixture
def bridge(fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    monkeypatch.setenv("AUTH_MODE", "keys")
    return make_bridge(make_settings(provider("local", chat_model("llama"), base_url=f"{fake.url}/v1")))


@pytest.fixture
def ask(bridge: Bridge, store: FakeKeyStore, clock: FakeClock) -> "Ask":
    return Ask(bridge, KeyVerifier(store, clock))


class Ask:
    """Sends a GET to a function."""

    def __init__(self, bridge: Bridge, verifier: KeyVerifier) -> None:
        self._bridge, self._verifier = bridge, verifier

    def __call__(self, name: str, path: str, key: KeyText | None = None, *, accept: str = "*/*") -> FunctionResponse:
        function = Function(name, self._bridge)
        function._module.app.state.key_verifier = self._verifier
        sent = {"Authorization": f"Bearer {key.text}"} if key else {}
        return function("GET", path, headers={"Host": "x", "Accept": accept, **sent})


def facts(answer: FunctionResponse) -> dict[str, Any]:
    """What an answer tells of the bridge: without the constant text by which programs look for an Ollama at `/`."""
    return {name: value for name, value in answer.json().items() if name != "ollama"}


@each_open_path
def test_a_caller_without_a_key_learns_only_status_and_version(ask: Ask, name: str, path: str) -> None:
    answer = ask(name, path)
    assert answer.status in {200, 307}
    assert facts(answer) == {"status": "healthy", "version": "2.0.0"}


@each_open_path
def test_a_caller_with_a_valid_key_sees_everything(ask: Ask, store: FakeKeyStore, name: str, path: str) -> None:
    assert ask(name, path, store.add()).json()["providers"].keys() == {"local"}


@each_open_path
def test_a_wrong_or_revoked_key_shows_no_more_than_none(ask: Ask, store: FakeKeyStore, name: str, path: str) -> None:
    for key in (new_key(), store.add(revoked=CREATED), store.add(expires=CREATED)):
        assert facts(ask(name, path, key)).keys() == {"status", "version"}


@each_open_path
def test_without_the_table_of_keys_the_health_is_still_told_but_no_more(
    ask: Ask, store: FakeKeyStore, name: str, path: str
) -> None:
    key = store.add()
    store.take_down()
    answer = ask(name, path, key)
    assert answer.status in {200, 307}
    assert facts(answer).keys() == {"status", "version"}


def test_a_request_without_a_key_costs_no_read_of_the_table_of_keys(ask: Ask, store: FakeKeyStore) -> None:
    for name, path in OPEN:
        ask(name, path)
    assert store.reads == []


@each_open_path
def test_many_requests_without_a_key_cost_one_read_of_the_breakers_and_none_of_the_vectors_that_wait(
    bridge: Bridge, store: FakeKeyStore, name: str, path: str
) -> None:
    clock, breakers = FakeClock(), CountingBreakers()
    counted = make_bridge(bridge.settings, store=breakers, clock=clock)

    def never() -> Any:
        raise AssertionError("the vectors that wait were counted")

    object.__setattr__(counted, "vectors", never)
    ask = Ask(counted, KeyVerifier(store, clock))
    for key in (None, new_key(), None, new_key()):
        assert ask(name, path, key).json()["status"] == "healthy"
    assert breakers.n_reads == 1
    clock.advance(5)
    ask(name, path)
    assert breakers.n_reads == 2


class CountingBreakers(MemoryProviderStore):
    """Records in memory that count how often they are read."""

    n_reads = 0

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        self.n_reads += 1
        return await super().read(provider_ids)


def test_a_browser_without_a_key_gets_a_page_that_says_where_keys_come_from(ask: Ask, store: FakeKeyStore) -> None:
    answer = ask("landing", "/", accept=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "sekha-bridge keys create" in answer.text
    assert "healthy" in answer.text
    assert not [shown for shown in ("local", "llama", "/v1/") if shown in answer.text]
    assert "llama" in ask("landing", "/", store.add(), accept=BROWSER).text


def test_the_page_without_a_key_is_allowed_by_its_own_content_security_policy(ask: Ask, store: FakeKeyStore) -> None:
    stranger, known = ask("landing", "/", accept=BROWSER), ask("landing", "/", store.add(), accept=BROWSER)
    style = [text.partition("<style>")[2].partition("</style>")[0] for text in (stranger.text, known.text)]
    assert style[0] == style[1] != ""
    assert stranger.headers["content-security-policy"] == known.headers["content-security-policy"]


def test_the_list_of_providers_needs_a_key_also_where_the_authorizer_was_not_asked(bridge: Bridge) -> None:
    function = Function("health", bridge)
    answer = function("GET", "/api/v1/health/providers")
    assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    event = rest_event("GET", "/api/v1/health/providers", None, {})
    event["requestContext"]["authorizer"] = {CONTEXT_FIELD: Caller("key_1", {}, KeyPolicy()).context_text()}
    answered = function._module.handler(event, FakeContext(29_000))
    assert (answered["statusCode"], json.loads(answered["body"])["total_providers"]) == (200, 1)


@each_open_path
def test_where_no_keys_are_needed_everybody_sees_everything(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, name: str, path: str
) -> None:
    monkeypatch.setenv("AUTH_MODE", "none")
    assert ask(name, path).json()["providers"].keys() == {"local"}
