"""Secrets that could not be fetched, that do not exist, and that were rotated, while a function runs."""

import asyncio
import json
import random
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.bootstrap.live import LiveBridge
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config import SecretCache, SecretNotFetched, SecretUnavailable, SecretUse, load_settings
from sekha_llm_bridge.config.references import AwsReference
from sekha_llm_bridge.errors import ConfigUnavailable
from sekha_llm_bridge.jobs.health_check import check_all
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.secret_stores import KeyedProvider
from tests.fakes.settings import chat_model, embedding_model, provider

CHAT = "/v1/chat/completions"
THROTTLED = SecretNotFetched("AWS answered ThrottlingException")
ABSENT = SecretUnavailable("it does not exist: create it")


@dataclass
class Store:
    """Secrets by name, or why there is none; `fetched` are the names of each fetch. `gate` holds every fetch up."""

    values: dict[str, str | SecretUnavailable]
    fetched: list[set[str]] = field(default_factory=list)
    gate: threading.Event | None = None

    def fetch(
        self, references: Collection[AwsReference], *, fresh: bool = False
    ) -> Mapping[AwsReference, str | SecretUnavailable]:
        assert fresh, "the cache asks for what it does not know"
        self.fetched.append({one.name for one in references})
        found = {one: self.values[one.name] for one in references}
        if self.gate is not None:
            self.gate.wait(10)
        return found


class MovableClock(SystemClock):
    """The system's clock, whose wall clock can be moved, as when Lambda freezes the environment."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def freeze(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


class World:
    """A file with two providers, `cloud` with the key `${ssm:/cloud}` and `other` without a key."""

    def __init__(self, path: Path, store: Store, clock: MovableClock) -> None:
        self.path, self.store, self.clock = path, store, clock
        self.cache = SecretCache(lambda: store)
        self.cloud, self.other = KeyedProvider(), FakeProvider()

    def write(self, *others: dict[str, Any], **sections: Any) -> None:
        models = [chat_model("big"), embedding_model("e")]
        cloud = provider("cloud", *models, base_url=f"{self.cloud.url}/v1", api_key="${ssm:/cloud}", priority=1)
        self.path.write_text(json.dumps({"providers": [cloud, *others], **sections}))

    def with_other(self) -> None:
        self.write(provider("other", chat_model("small"), base_url=f"{self.other.url}/v1", priority=2))

    def live(self, uses: SecretUse = SecretUse.PROVIDERS) -> LiveBridge:
        return LiveBridge(
            lambda: load_settings(self.path, environ={}, secrets=self.cache, uses=uses),
            lambda settings: make_bridge(settings, clock=self.clock, secrets=self.cache),
            self.cache,
            self.clock,
        )

    def function(self, name: str = "chat_completions") -> Function:
        return Function(name, ConfigUnavailable([])).with_live(self.live())


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store() -> Store:
    return Store({"/cloud": THROTTLED})


@pytest.fixture
def world(tmp_path: Path, store: Store, clock: MovableClock) -> Iterator[World]:
    made = World(tmp_path / "llm.yaml", store, clock)
    with made.cloud, made.other:
        made.write()
        yield made


def ask(function: Function, **fields: Any) -> FunctionResponse:
    return function("POST", CHAT, {"messages": [{"role": "user", "content": "Hi"}], **fields})


def error_of(answer: FunctionResponse) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    return found


def test_while_ssm_is_throttled_another_provider_answers(world: World) -> None:
    world.with_other()
    answer = ask(world.function())
    assert (answer.status, answer.json()["model"]) == (200, "small")


@pytest.mark.parametrize("fields", [{}, {"model": "big"}, {"model": "cloud/big", "stream": True}])
def test_where_nobody_else_can_answer_it_is_a_503_that_says_when_to_retry(world: World, fields: dict[str, Any]) -> None:
    answer = ask(world.function(), **fields)
    error = error_of(answer)
    assert (answer.status, error["code"], answer.headers["retry-after"]) == (503, "no_provider_available", "3")
    assert "a secret that could not be fetched yet" in error["message"]
    assert "${ssm:/cloud}" in error["message"]
    assert world.cloud.received == []


def test_ssm_throttled_during_init_and_back_after_ten_seconds(world: World, store: Store, clock: MovableClock) -> None:
    chat = world.function()
    for seconds in (1, 1, 1, 3):  # at most one fetch in three seconds
        clock.freeze(seconds)
        assert ask(chat).status == 503
    assert len(store.fetched) == 1 + 2
    store.values["/cloud"] = "sk-1"
    clock.freeze(4)
    assert ask(chat).status == 200
    assert world.cloud.received[-1].headers["authorization"] == "Bearer sk-1"
    assert ask(chat).status == 200
    assert len(store.fetched) == 1 + 3, "nothing is fetched while everything is known"


def test_an_embedding_and_an_explanation_wait_for_the_secret_in_the_same_way(world: World, clock: MovableClock) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    explained = world.function("route")("POST", "/api/v1/route", body)
    embedded = world.function("embeddings")("POST", "/v1/embeddings", {"input": "x", "model": "e"})
    assert [answer.status for answer in (explained, embedded)] == [503, 503]
    world.store.values["/cloud"] = "sk-1"
    route = world.function("route")
    clock.freeze(4)
    assert route("POST", "/api/v1/route", body).status == 200


def test_an_absent_secret_disables_its_provider_until_somebody_has_created_it(
    world: World, store: Store, clock: MovableClock
) -> None:
    store.values["/cloud"] = ABSENT
    chat = world.function()
    answer = ask(chat, model="big")
    assert (answer.status, error_of(answer)["code"]) == (404, "model_not_found")
    clock.freeze(30)
    store.values["/cloud"] = "sk-1"
    assert ask(chat, model="big").status == 404, "it is asked for once a minute"
    clock.freeze(30)
    assert ask(chat, model="big").status == 200


def test_a_store_that_hangs_makes_no_request_wait_for_a_secret_that_is_known(
    world: World, store: Store, clock: MovableClock
) -> None:
    store.values["/cloud"] = "sk-1"
    chat = world.function()
    clock.freeze(301)
    store.gate = threading.Event()
    assert ask(chat).status == 200
    assert len(store.fetched) == 2, "the fetch is under way"
    store.gate.set()


def test_a_rotated_secret_is_used_after_five_minutes_although_the_old_one_is_accepted(
    world: World, store: Store, clock: MovableClock
) -> None:
    store.values["/cloud"] = "sk-1"
    live = world.live()
    store.values["/cloud"] = "sk-2"
    assert asyncio.run(key_after(live, clock, 290)) == "sk-1"
    assert asyncio.run(key_after(live, clock, 11)) == "sk-2"


async def key_after(live: LiveBridge, clock: MovableClock, seconds: float) -> str | None:
    clock.freeze(seconds)
    bridge = await live.before_request(max_wait_s=5)
    assert isinstance(bridge, Bridge)
    key = bridge.providers.config("cloud").api_key
    return key.get_secret_value() if key else None


def test_a_rejected_key_that_the_store_did_not_give_now_is_fetched_again_after_seconds(
    world: World, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.values["/cloud"] = "sk-1"
    live = world.live()
    bridge = live.current
    assert isinstance(bridge, Bridge)
    now_s = clock.monotonic_s()
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    store.values["/cloud"] = THROTTLED
    assert not asyncio.run(bridge.providers.refresh("cloud", timeout_s=5))
    store.values["/cloud"] = "sk-2"
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s + 4)
    assert asyncio.run(bridge.providers.refresh("cloud", timeout_s=5))


def test_what_a_rejected_key_has_fetched_is_used_for_other_providers_too(
    world: World, store: Store, clock: MovableClock
) -> None:
    url = f"{world.cloud.url}/v1"
    one, two = (
        provider(name, chat_model(name), base_url=url, api_key=f"${{secretsmanager:keys#{name}}}")
        for name in ("cloud", "other")
    )
    world.path.write_text(json.dumps({"providers": [one, two]}))
    store.values["keys"] = json.dumps({"cloud": "sk-1"})
    live = world.live()
    store.values["keys"] = json.dumps({"cloud": "sk-2", "other": "sk-3"})

    async def unusable() -> list[str]:
        assert isinstance(live.current, Bridge)
        assert await live.current.providers.refresh("cloud", timeout_s=5)
        clock.freeze(301)
        bridge = await live.before_request(max_wait_s=5)
        assert isinstance(bridge, Bridge)
        return [disabled.config.id for disabled in bridge.settings.disabled]

    assert asyncio.run(unusable()) == []


def test_a_function_without_chroma_does_not_import_its_client_when_a_secret_changes(
    world: World, store: Store, clock: MovableClock
) -> None:
    world.write(chroma={"url": "http://127.0.0.1:9", "auth_token": "${ssm:/chroma}"})
    live = world.live()
    assert isinstance(live.current, Bridge)
    made: list[bool] = []
    live.current = replace(live.current, chroma_token=lambda: made.append(True))  # type: ignore[arg-type,return-value]
    store.values["/cloud"] = "sk-1"
    assert asyncio.run(key_after(live, clock, 4)) == "sk-1"
    assert made == []


def test_breakers_and_connections_stay_when_a_secret_arrives(world: World, store: Store, clock: MovableClock) -> None:
    live = world.live()
    before = live.current
    assert isinstance(before, Bridge)
    store.values["/cloud"] = "sk-1"
    assert asyncio.run(key_after(live, clock, 4)) == "sk-1"
    after = live.current
    assert isinstance(after, Bridge)
    assert after is not before
    assert ([*before.settings.pending], [*after.settings.pending]) == (["cloud"], [])
    for name in ("breakers", "connections", "providers", "answers", "spending_maker", "vectors"):
        assert getattr(after, name) is getattr(before, name)


def test_a_value_elsewhere_in_the_file_makes_every_answer_a_503_until_it_is_fetched(
    world: World, store: Store, clock: MovableClock
) -> None:
    store.values |= {"/cloud": "sk-1", "/limit": THROTTLED}
    world.write(routing={"max_cost_per_request": "${ssm:/limit}"})
    chat = world.function()
    answer = ask(chat)
    assert (answer.status, error_of(answer)["code"]) == (503, "config_unavailable")
    assert answer.headers["retry-after"] == "3"
    store.values["/limit"] = "5"
    clock.freeze(4)
    assert ask(chat).status == 200


def test_a_token_of_chroma_that_is_not_fetched_is_no_fault_of_the_configuration(
    world: World, store: Store, clock: MovableClock
) -> None:
    store.values |= {"/cloud": "sk-1", "/chroma": THROTTLED}
    world.write(chroma={"url": "http://127.0.0.1:9", "auth_token": "${ssm:/chroma}"})
    live = world.live(SecretUse.ALL)
    bridge = live.current
    assert isinstance(bridge, Bridge)
    with pytest.raises(Exception, match="its token could not be fetched yet"):
        bridge.chroma_token().current()
    store.values["/chroma"] = "token-1"
    asyncio.run(key_after(live, clock, 4))
    token = bridge.chroma_token().current()
    assert token is not None, "the connections that exist send it, too"
    assert token.get_secret_value() == "token-1"


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        (SecretUse.NONE, set()),
        (SecretUse.PROVIDERS, {"/cloud"}),
        (SecretUse.CHROMA, {"/chroma"}),
        (SecretUse.ALL, {"/cloud", "/chroma"}),
    ],
)
def test_a_function_fetches_only_the_secrets_that_it_uses(world: World, uses: SecretUse, expected: set[str]) -> None:
    world.store.values |= {"/cloud": "sk-1", "/chroma": "token"}
    world.write(chroma={"url": "http://127.0.0.1:9", "auth_token": "${ssm:/chroma}"})
    bridge = world.live(uses).current
    assert isinstance(bridge, Bridge)
    assert set().union(*world.store.fetched) == expected
    assert [one.id for one in bridge.settings.providers] == ["cloud"], "it is known to be configured"
    assert (bridge.settings.disabled, bridge.settings.warnings) == ((), ())


def test_after_a_restore_secrets_are_fresh_and_random_numbers_differ(world: World, store: Store) -> None:
    store.values["/cloud"] = "sk-1"
    live = world.live()
    state = random.getstate()
    store.values["/cloud"] = "sk-2"
    live.after_restore()
    assert isinstance(live.current, Bridge)
    key = live.current.providers.config("cloud").api_key
    assert key is not None
    assert key.get_secret_value() == "sk-2"
    assert random.getstate() != state


def test_a_restore_succeeds_without_the_store_and_secrets_are_fetched_at_the_next_request(
    world: World, store: Store, clock: MovableClock
) -> None:
    store.values["/cloud"] = "sk-1"
    live = world.live()
    store.values["/cloud"] = THROTTLED
    live.after_restore()
    assert asyncio.run(key_after(live, clock, 0)) == "sk-1"
    store.values["/cloud"] = "sk-2"
    assert asyncio.run(key_after(live, clock, 11)) == "sk-2"


def test_the_check_lists_disabled_and_pending_providers_and_the_health_without_secrets_shows_them(
    world: World, store: Store, clock: MovableClock, log: StringIO
) -> None:
    world.with_other()
    checking = world.live()
    bridge = checking.current
    assert isinstance(bridge, Bridge)
    found = asyncio.run(check_all(bridge))
    assert {name: row["status"] for name, row in found.items()} == {"cloud": "pending", "other": "healthy"}
    assert world.cloud.received == []
    store.values["/cloud"] = ABSENT
    for _ in range(2):
        asyncio.run(key_after(checking, clock, 4))
    assert log.getvalue().count('"a provider cannot be used"') == 1
    health = Function("health", _seen_by_health(world, checking))("GET", "/api/v1/health").json()
    assert health["status"] == "degraded"
    row = health["providers"]["cloud"]
    assert (row["status"], row["error"]) == ("disabled", "disabled")
    assert row["reason"] == "${ssm:/cloud} cannot be fetched: it does not exist: create it"


def _seen_by_health(world: World, checking: LiveBridge) -> Bridge:
    """The bridge of a function that reads no secret, after a check that has recorded what it found."""
    assert isinstance(checking.current, Bridge)
    asyncio.run(check_all(checking.current))
    without = world.live(SecretUse.NONE).current
    assert isinstance(without, Bridge)
    assert without.settings.disabled == ()
    object.__setattr__(without, "breakers", checking.current.breakers)
    return without


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_secret_rotated_twice_under_load_fails_no_request(
    world: World,
    store: Store,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    store.values["/cloud"] = world.cloud.accepted = "sk-1"
    chat = world.function()

    async def storm() -> list[httpx.Response]:
        async with chat.client() as client:
            answers: list[httpx.Response] = []
            for key in ("sk-1", "sk-2", "sk-3"):  # within a minute
                store.values["/cloud"] = world.cloud.accepted = key
                body = {"messages": [{"role": "user", "content": "Hi"}], "stream": is_streamed}
                answers += await asyncio.gather(*(client.post(CHAT, json=body) for _ in range(20)))
            return answers

    answers = asyncio.run(storm())
    assert [answer.status_code for answer in answers] == [200] * 60
    assert not any("error" in answer.text for answer in answers)
    assert world.cloud.rejected >= 2, "the old keys were rejected"
    assert len(store.fetched) == 1 + 2, "requests that are rejected together wait for one fetch"


def test_a_secret_rotated_between_two_batches_of_an_embedding_fails_no_request(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.values["/cloud"] = world.cloud.accepted = "sk-1"
    texts = ["ab " * 130 for _ in range(900)]  # more than one request may have
    accepted = world.cloud.reply_to

    def rotate_after_the_first(request: Any) -> Reply:
        reply = accepted(request)
        if world.cloud.accepted == "sk-1":
            store.values["/cloud"] = world.cloud.accepted = "sk-2"
        return reply

    monkeypatch.setattr(world.cloud, "reply_to", rotate_after_the_first)
    answer = world.function("embeddings")("POST", "/v1/embeddings", {"input": texts, "model": "e"})
    assert answer.status == 200, answer.text
    assert len(answer.json()["data"]) == 900
    assert world.cloud.rejected == 1
