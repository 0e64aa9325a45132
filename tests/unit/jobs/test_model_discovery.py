"""`models: auto`: what the scheduled check keeps of an Ollama's models, and what the functions then know of them."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.bootstrap.live import LiveBridge
from sekha_llm_bridge.config import SecretCache, load_settings
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.jobs.health_check import check_all
from sekha_llm_bridge.model_lists import MAX_MODELS, ListsUnavailable, MemoryModelListStore, ModelList, ModelListStore
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.ollama_server import FakeOllama
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, embedding_model

CHAT = "/v1/chat/completions"
DAY_S = 24 * 60 * 60
FOUND = ["llama3.1:8b", "mxbai-embed-large", "nomic-embed-text"]


@dataclass
class CountingStore:
    """A store that counts what it is asked for, and fails or hangs on request."""

    clock: FakeClock
    reads: int = 0
    writes: int = 0
    is_down: bool = False
    hangs: bool = False
    kept: MemoryModelListStore = field(init=False)

    def __post_init__(self) -> None:
        self.kept = MemoryModelListStore(self.clock)

    async def read(self, provider_ids: Any) -> Mapping[str, ModelList]:
        self.reads += 1
        if self.is_down:
            raise ListsUnavailable("DynamoDB request failed (ConnectError)")
        if self.hangs:
            await asyncio.sleep(3600)
        return await self.kept.read(provider_ids)

    async def replace(self, provider_id: str, before: ModelList | None, models: Sequence[FoundModel]) -> bool:
        self.writes += 1
        return await self.kept.replace(provider_id, before, models)


class World:
    """An Ollama `home` with `models: auto`, and the instances that share one store."""

    def __init__(self, ollama: FakeOllama, path: Path, clock: FakeClock) -> None:
        self.ollama, self.path, self.clock = ollama, path, clock
        self.store = CountingStore(clock)
        self.providers = MemoryProviderStore()
        self.write()

    def write(self, *others: dict[str, Any], models: Any = "auto", **sections: Any) -> None:
        home = {"id": "home", "provider_type": "ollama", "base_url": self.ollama.url, "priority": 1, "models": models}
        self.path.write_text(json.dumps({"providers": [home, *others], **sections}))

    def live(self, store: ModelListStore | None = None) -> LiveBridge:
        return LiveBridge(
            lambda: load_settings(self.path, environ={}),
            lambda settings: make_bridge(
                settings, clock=self.clock, store=self.providers, list_store=store or self.store
            ),
            SecretCache(lambda: pytest.fail("no secret is configured")),
            self.clock,
        )

    def check(self, store: ModelListStore | None = None) -> Any:
        """What a scheduled check finds."""

        async def run() -> Any:
            bridge = await self.live(store).before_request(max_wait_s=5)
            assert isinstance(bridge, Bridge)
            try:
                return await check_all(bridge)
            finally:
                await bridge.connections.aclose()

        loop = asyncio.new_event_loop()  # `asyncio.run` would take the functions' loop away
        try:
            return loop.run_until_complete(run())
        finally:
            loop.close()

    def function(self, name: str = "models") -> Function:
        return Function(name, ConfigError([])).with_live(self.live())

    def listed(self, function: Function | None = None) -> list[str]:
        answer = (function or self.function())("GET", "/api/v1/models")
        assert answer.status == 200
        return [row["model_id"] for row in answer.json()]


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama() as fake:
        yield fake


@pytest.fixture
def world(ollama: FakeOllama, tmp_path: Path, clock: FakeClock) -> World:
    return World(ollama, tmp_path / "llm.yaml", clock)


def ask(function: Function, **fields: Any) -> FunctionResponse:
    return function("POST", CHAT, {"messages": [{"role": "user", "content": "Hi"}], **fields})


def test_after_one_check_every_function_knows_what_has_been_pulled(world: World) -> None:
    world.check()
    assert world.listed() == FOUND
    chat = ask(world.function("chat_completions"))
    assert (chat.status, chat.json()["model"]) == (200, "llama3.1:8b")
    embedded = world.function("embeddings")("POST", "/v1/embeddings", {"input": "a", "model": "nomic-embed-text"})
    assert (embedded.status, embedded.json()["bridge"]["dimension"]) == (200, 768)
    route = world.function("route")("POST", "/api/v1/route", {"task": "chat_smart"})
    assert (route.status, route.json()["model_id"]) == (200, "llama3.1:8b")
    health = world.function("health")("GET", "/api/v1/health").json()
    assert (health["providers"]["home"]["models_count"], health["models_loaded"]) == (3, FOUND)


def test_openais_list_has_them_and_the_names_that_stand_for_them(world: World) -> None:
    world.check()
    listed = [row["id"] for row in world.function()("GET", "/v1/models").json()["data"]]
    assert listed == [*FOUND, "auto", "embedding", "chat_fast", "chat_smart"]
    assert world.function()("GET", "/v1/models/nomic-embed-text:latest").status == 200


def test_the_log_says_once_what_was_found_and_what_is_left_out(world: World, clock: FakeClock, log: StringIO) -> None:
    for _ in range(2):
        world.check()
        clock.advance(60)
    [line] = [line for line in map(json.loads, log.getvalue().splitlines()) if line["message"] == "models found"]
    assert (line["models"], line["removed"]) == (4, [])
    assert line["left_out"] == {"deepseek-v3.1:671b-cloud": "it runs on another server, where it may cost something"}


def test_one_list_and_one_description_of_each_content_are_asked_for_and_written_once(
    world: World, ollama: FakeOllama, clock: FakeClock
) -> None:
    ollama.pull("llama3.1:latest", like="llama3.1:8b")
    for _ in range(5):
        world.check()
        clock.advance(60)
    assert len(ollama.calls("/api/tags")) == 5
    assert len(ollama.described) == 3, "the cloud's is not described, and two tags of one content are described once"
    assert world.store.writes == 1
    assert "llama3.1" in world.listed()


def test_what_is_pulled_and_removed_is_known_within_two_minutes(
    world: World, ollama: FakeOllama, clock: FakeClock
) -> None:
    world.check()
    models, chat = world.function(), world.function("chat_completions")
    assert world.listed(models) == FOUND
    assert ask(chat).status == 200
    ollama.pull("qwen3:4b", like="llama3.1:8b", digest="q")
    ollama.remove("llama3.1:8b")
    clock.advance(59)
    world.check()
    assert world.listed(models) == FOUND, "the list is read once a minute"
    clock.advance(1)
    assert world.listed(models) == ["qwen3:4b", *FOUND[1:]]
    assert ask(chat, model="qwen3:4b").json()["model"] == "qwen3:4b"
    gone = ask(chat, model="llama3.1:8b")
    assert (gone.status, gone.json()["error"]["code"]) == (404, "model_not_found")
    assert "qwen3:4b" in gone.json()["error"]["message"]


def test_an_instance_reads_the_list_once_a_minute(world: World, clock: FakeClock) -> None:
    world.check()
    chat, before = world.function("chat_completions"), world.store.reads
    for _ in range(6):
        assert ask(chat).status == 200
        clock.advance(30)
    assert world.store.reads - before == 3


def test_while_an_ollama_is_down_its_last_list_stays(world: World, ollama: FakeOllama, clock: FakeClock) -> None:
    world.check()
    ollama.always("/api/tags", Reply(500, {"error": "model list cache unavailable"}))
    clock.advance(60)
    assert world.check()["home"]["status"] == "unhealthy"
    assert world.listed() == FOUND
    ollama.always("/api/tags", Reply(200, raw=b"<html>a proxy's page</html>"))
    clock.advance(60)
    assert world.check()["home"]["status"] == "healthy"
    assert world.listed() == FOUND


def test_an_ollama_from_which_everything_was_removed_has_no_models(
    world: World, ollama: FakeOllama, clock: FakeClock
) -> None:
    world.check()
    ollama.rows = {}
    clock.advance(60)
    world.check()
    assert world.listed() == []
    refused = ask(world.function("chat_completions")).json()["error"]
    assert "home has no model that can be used" in refused["message"]


def test_before_the_first_check_the_answer_says_so_and_when_to_retry(world: World, clock: FakeClock) -> None:
    chat = world.function("chat_completions")
    answer = ask(chat)
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert "the models of home are not known yet" in answer.json()["error"]["message"]
    assert "not known yet" in ask(chat, model="llama3.1:8b").json()["error"]["message"]
    world.check()
    clock.advance(5)
    assert ask(chat).status == 200, "a missing list is read again after five seconds"


def test_a_list_that_never_comes_is_asked_for_once_a_minute_in_the_end(world: World, clock: FakeClock) -> None:
    chat = world.function("chat_completions")
    for _ in range(25):  # every five seconds, for two minutes
        ask(chat)
        clock.advance(5)
    before = world.store.reads
    assert before == 24
    for _ in range(24):
        ask(chat)
        clock.advance(5)
    assert world.store.reads - before == 2


def test_before_the_first_check_other_providers_answer(world: World) -> None:
    with FakeProvider() as cloud:
        world.write(
            {"id": "cloud", "provider_type": "openai", "base_url": f"{cloud.url}/v1", "models": [chat_model("gpt")]}
        )
        answer = ask(world.function("chat_completions"))
    assert (answer.status, answer.json()["model"]) == (200, "gpt")


def test_without_the_table_an_instance_goes_on_with_the_list_that_it_has(
    world: World, clock: FakeClock, log: StringIO
) -> None:
    world.check()
    chat = world.function("chat_completions")
    assert ask(chat).status == 200
    world.store.is_down = True
    for _ in range(3):
        clock.advance(60)
        assert ask(chat).status == 200
    assert log.getvalue().count("the lists of models cannot be read") == 1
    world.store.is_down = False
    clock.advance(5)
    world.ollama.remove("nomic-embed-text:latest")
    world.check()
    clock.advance(60)
    assert ask(chat).status == 200


def test_a_table_that_hangs_delays_one_request_and_no_other(world: World, clock: FakeClock) -> None:
    world.check()
    chat = world.function("chat_completions")
    assert ask(chat).status == 200
    before, world.store.hangs = world.store.reads, True
    clock.advance(60)
    assert [ask(chat).status for _ in range(3)] == [200] * 3
    assert world.store.reads == before + 1


def test_a_table_that_fails_the_check_does_not_change_its_result(world: World, log: StringIO) -> None:
    world.store.is_down = True
    assert world.check()["home"]["status"] == "healthy"
    assert "the list of models is not stored" in log.getvalue()


def test_a_mistake_in_keeping_the_list_does_not_change_the_result_of_the_check(world: World, log: StringIO) -> None:
    class Broken(CountingStore):
        async def replace(self, provider_id: str, before: ModelList | None, models: Sequence[FoundModel]) -> bool:
            raise TypeError("a bug")

    assert world.check(Broken(world.clock))["home"]["status"] == "healthy"
    assert "unexpected error in a list of models" in log.getvalue()


def test_a_model_whose_description_fails_waits_for_the_next_check(
    world: World, ollama: FakeOllama, clock: FakeClock, log: StringIO
) -> None:
    shown = ollama.shown.pop("llama3.1:8b")
    ollama.shown["llama3.1:8b"] = {"error": "unexpected EOF"}
    world.check()
    assert world.listed() == FOUND[1:]
    assert "a model is not described" in log.getvalue()
    ollama.shown["llama3.1:8b"] = shown
    clock.advance(60)
    world.check()
    assert world.listed() == FOUND
    assert ollama.described.count("nomic-embed-text:latest") == 1


def test_a_new_content_of_a_known_name_is_described_and_the_old_description_stays_until_it_is(
    world: World, ollama: FakeOllama, clock: FakeClock
) -> None:
    world.check()
    ollama.pull("llama3.1:8b", like="llama3.1:8b", digest="new")
    new = {**ollama.shown["llama3.1:8b"], "parameters": "num_ctx 4096"}
    ollama.shown["llama3.1:8b"] = {"error": "busy"}

    def window() -> int:
        rows = world.function()("GET", "/api/v1/models").json()
        return next(int(row["context_window"]) for row in rows if row["model_id"] == "llama3.1:8b")

    clock.advance(60)
    world.check()
    assert window() == 131_072
    ollama.shown["llama3.1:8b"] = new
    clock.advance(60)
    world.check()
    assert window() == 4096


def test_a_model_that_vanishes_while_it_is_described_is_left_out(world: World, ollama: FakeOllama) -> None:
    ollama.script("/api/show", *[Reply(404, {"error": "model not found"})] * 3)
    world.check()
    assert world.listed() == []


def test_every_week_the_models_are_described_anew_so_that_the_item_does_not_expire(
    world: World, ollama: FakeOllama, clock: FakeClock
) -> None:
    world.check()
    clock.advance(7 * DAY_S - 1)
    world.check()
    assert (world.store.writes, len(ollama.described)) == (1, 3)
    clock.advance(1)
    world.check()
    world.check()
    assert (world.store.writes, len(ollama.described)) == (2, 6)


def test_of_two_checks_at_the_same_time_one_writes(world: World, ollama: FakeOllama) -> None:
    class Slow(CountingStore):
        """Another check writes between this one's read and its write."""

        async def replace(self, provider_id: str, before: ModelList | None, models: Sequence[FoundModel]) -> bool:
            assert await world.store.kept.replace(provider_id, before, models[1:2])
            return await world.store.kept.replace(provider_id, before, models)

    world.check(Slow(world.clock))
    assert len(world.listed()) == 1, "the first write holds"
    world.check()
    assert world.listed() == FOUND, "the next check compares again"


def test_the_window_of_a_found_embedding_model_limits_the_context_that_is_asked_for(
    world: World, ollama: FakeOllama
) -> None:
    world.check()
    body = {"input": "x" * 1500, "model": "mxbai-embed-large", "dimensions": 768}
    world.function("embeddings")("POST", "/v1/embeddings", body)
    assert ollama.calls("/api/embed")[0].body["options"] == {"num_ctx": 512}


def test_entries_beside_auto_are_used_only_while_the_ollama_has_them(
    world: World, ollama: FakeOllama, clock: FakeClock
) -> None:
    entries = [chat_model("llama3.1:8b", task="chat_smart"), chat_model("llama3.1:70b"), embedding_model("bge-m3")]
    world.write(models=["auto", *entries])
    assert world.listed() == ["llama3.1:8b", "llama3.1:70b", "bge-m3"], "nothing is known yet"
    world.check()
    assert world.listed() == FOUND
    row = world.function()("GET", "/api/v1/models").json()[0]
    assert (row["task"], row["context_window"]) == ("chat_smart", 8192)


def test_a_key_may_be_limited_to_what_an_ollama_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    world.check()
    caller = Caller("k", {}, KeyPolicy(models=("nomic-embed-text",)))
    answer = world.function()("GET", "/api/v1/models", caller=caller)
    assert [row["model_id"] for row in answer.json()] == ["nomic-embed-text"]


def test_where_no_provider_is_asked_for_its_models_nothing_is_read(world: World, ollama: FakeOllama) -> None:
    world.write(models=[chat_model("llama3.1:8b")])
    assert ask(world.function("chat_completions")).status == 200
    world.check()
    assert (world.store.reads, ollama.described, len(ollama.calls("/api/tags"))) == (0, [], 1)


@pytest.mark.parametrize("version", ["of_2025", "of_2024", "of_2024_with_lengths"])
def test_older_versions_are_understood(tmp_path: Path, clock: FakeClock, version: str) -> None:
    with FakeOllama(version) as ollama:
        world = World(ollama, tmp_path / "llm.yaml", clock)
        world.check()
        listed = set(world.listed())
    assert (
        listed
        == {
            "of_2025": {
                "embeddinggemma",
                "gemma3:4b",
                "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
                "llama3.1",
                "llama3.1:70b",
                "llama3.1:8b",
            },
            "of_2024": {"llama2:13b", "llama3", "llava", "mixtral:8x7b"},  # of an embedding model it says no length
            "of_2024_with_lengths": {"llava", "nomic-embed-text"},
        }[version]
    )


def test_of_more_models_than_a_list_can_have_the_first_are_kept(
    world: World, ollama: FakeOllama, clock: FakeClock, log: StringIO
) -> None:
    for number in range(MAX_MODELS):
        ollama.pull(f"m{number:03}", like="llama3.1:8b", digest=f"d{number}")
    for _ in range(2):
        world.check()
        clock.advance(60)
    listed = world.listed()
    assert len(listed) == MAX_MODELS - 1, "one runs elsewhere"
    assert "nomic-embed-text" not in listed
    assert "too many models for a list" in log.getvalue()
    assert (world.store.writes, len(set(ollama.described))) == (1, len(ollama.described))
