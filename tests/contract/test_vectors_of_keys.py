"""Two API keys with vectors of their own: neither finds, overwrites nor migrates the other's, on any path.

The tests use a real Chroma server, SQS and DynamoDB by moto, and the functions' own handlers, with the callers as the
authorizer describes them.
"""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.bootstrap.background import make_drain
from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings import Database
from sekha_llm_bridge.embeddings.backup.partial_file import partial_path
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.jobs.drain import drain
from sekha_llm_bridge.jobs.migrate import MigrationRequest, migrate
from tests.fakes.chroma import ChromaProcess
from tests.fakes.dynamodb import REGION, DynamoDb, Queues
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, vector_of
from tests.fakes.settings import embedding_model, make_settings, provider

DEFAULT = Database("default_tenant", "default_database")
_numbers = count()


class Key(NamedTuple):
    """A caller, and the database in which its vectors must be."""

    caller: Caller
    database: Database


class Separation(NamedTuple):
    """A way to give two keys vectors of their own."""

    mine: Key
    others: Key
    separate_by_key: bool


def separation(kind: str) -> Separation:
    """Returns two new keys, whose databases no other test uses."""
    number = next(_numbers)

    def key(name: str, database: Database, **policy: Any) -> Key:
        return Key(Caller(f"key_{name}{number}", {}, KeyPolicy(**policy)), database)

    def own(name: str) -> Key:
        return key(name, Database("default_tenant", f"key_{name}{number}"))

    def named(name: str, tenant: str | None, database: str) -> Key:
        place = Database(tenant or "default_tenant", database)
        return key(name, place, chroma_tenant=tenant, chroma_database=database)

    match kind:
        case "each key its own":
            return Separation(own("Mine"), own("Other"), separate_by_key=True)
        case "names that differ in case":
            return Separation(own("a"), own("A"), separate_by_key=True)
        case "databases":
            mine, others = (named(name, None, f"{name}-{number}") for name in ("mine", "other"))
            return Separation(mine, others, separate_by_key=False)
        case "tenants":
            mine, others = (named(name, f"{name}-{number}", "vectors") for name in ("mine", "other"))
            return Separation(mine, others, separate_by_key=False)
        case "tenants, each key its own":
            mine, others = (
                key(name, Database(f"team-{number}", f"key_{name}{number}"), chroma_tenant=f"team-{number}")
                for name in ("Mine", "Other")
            )
            return Separation(mine, others, separate_by_key=True)
    return Separation(named("mine", None, f"mine-{number}"), key("other", DEFAULT), separate_by_key=False)


KINDS = ["each key its own", "tenants", "one of them in the configured database"]
ALL_KINDS = [*KINDS, "databases", "names that differ in case", "tenants, each key its own"]


class World:
    """Functions of one bridge, with a Chroma server, a queue and a table."""

    def __init__(self, chroma: ChromaProcess, aws: DynamoDb, fake: FakeProvider, wide: FakeProvider) -> None:
        self.chroma, self.aws, self.fake, self.wide = chroma, aws, fake, wide
        self.table = aws.new_table()
        self.queues: Queues = aws.new_queue()
        self.configured = ChromaServer(ChromaConfig(url=chroma.url))
        self.chroma_settings: dict[str, Any] = {"url": chroma.url}
        self.functions = {name: Function(name, self.bridge()) for name in ("embeddings", "embed", "search")}

    def use(self, *, separate_by_key: bool) -> None:
        self.chroma_settings["separate_by_key"] = separate_by_key
        bridge = self.bridge()
        for function in self.functions.values():
            function.with_bridge(bridge)

    def bridge(self) -> Bridge:
        return make_bridge(
            make_settings(
                provider("p", embedding_model("mini"), embedding_model("other"), base_url=f"{self.fake.url}/v1"),
                provider("w", embedding_model("wide", dimension=16), base_url=f"{self.wide.url}/v1"),
                chroma=self.chroma_settings,
                default_models={"embedding": "mini"},
            ),
            table=self.table,
            queue_url=self.queues.url,
            dead_letters_url=self.queues.dead_letters_url,
        )

    def call(self, function: str, path: str, body: Any, caller: Caller | None) -> Any:
        return self.functions[function]("POST", path, body, caller=caller)

    def embed(self, key: Key, **fields: Any) -> Any:
        answer = self.call("embeddings", "/v1/embeddings", fields, key.caller)
        assert answer.status == 200, answer.text
        return answer.json()["bridge"]

    def search(self, key: Key, **fields: Any) -> Any:
        return self.call("search", "/api/v1/search", fields, key.caller)

    def found(self, key: Key, **fields: Any) -> list[str]:
        answer = self.search(key, **fields)
        assert answer.status == 200, answer.text
        return sorted(match["document"] for match in answer.json()["matches"])

    def server(self, key: Key) -> ChromaServer:
        """The database in which the key's vectors must be."""
        return self.configured.in_database(key.database)

    def collections(self, key: Key) -> dict[str, list[str]]:
        """The documents of each collection in the key's database."""
        return {
            one.name: sorted(text or "" for text in one.page(offset=0, limit=100).documents)
            for one in self.server(key).collections()
        }

    def fill(self, key: Key, name: str, *ids: str) -> None:
        """Writes a collection of v1 into the key's database. Its documents name the database."""
        vectors, texts = [vector_of(one, 8) for one in ids], [f"{one} of {key.database}" for one in ids]
        made = self.server(key).find_or_create(name, metadata=None, configuration={})
        made._collection.add(ids=list(ids), embeddings=vectors, documents=texts)

    def run(self, work: Any) -> Any:
        """Runs a scheduled function's work in the event loop of the functions."""
        return asyncio.get_event_loop().run_until_complete(work)

    def drain(self) -> Any:
        bridge = self.bridge()

        async def once() -> dict[str, Any]:
            done = await drain(make_drain(bridge, max_empty_receives=1), bridge.clock, for_s=60)
            await bridge.connections.aclose()
            return done

        return self.run(once())

    def migrate(self, **event: Any) -> Any:
        bridge = self.bridge()

        async def once() -> Any:
            done = await migrate(bridge, MigrationRequest(**event), has_time=lambda: True)
            await bridge.connections.aclose()
            return done

        return self.run(once())


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaProcess]:
    process = ChromaProcess(tmp_path_factory.mktemp("chroma"))
    process.start()
    yield process
    process.end()


@pytest.fixture(scope="module")
def aws() -> Iterator[DynamoDb]:
    with DynamoDb() as running:
        yield running


@pytest.fixture(scope="module")
def module_world(chroma: ChromaProcess, aws: DynamoDb) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, FakeProvider() as fake, FakeProvider(dimension=16) as wide:
        for name, value in {
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_DYNAMODB": aws.url,
            "AWS_ENDPOINT_URL_SQS": aws.url,
        }.items():
            patch.setenv(name, value)
        yield World(chroma, aws, fake, wide)


@pytest.fixture
def world(module_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in {
        "AUTH_MODE": "keys",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_DYNAMODB": module_world.aws.url,
        "AWS_ENDPOINT_URL_SQS": module_world.aws.url,
    }.items():
        monkeypatch.setenv(name, value)
    return module_world


@pytest.fixture(params=KINDS)
def keys(request: pytest.FixtureRequest, world: World) -> Separation:
    """Two keys. The collections of the configured database are deleted."""
    made = separation(request.param)
    world.use(separate_by_key=made.separate_by_key)
    for collection in list(world.configured.collections()):
        world.configured.delete(collection.name)
    return made


@pytest.mark.parametrize("keys", ALL_KINDS, indirect=True)
def test_the_same_id_in_the_same_collection_is_a_record_of_each_key(world: World, keys: Separation) -> None:
    for key, text in ((keys.mine, "mine"), (keys.others, "the other's"), (keys.mine, "mine again")):
        receipt = world.embed(key, input=text, ids=["a"], collection="notes")
        assert (receipt["stored"], receipt["collection"]) == (1, "notes_8")
    assert world.collections(keys.mine) == {"notes_8": ["mine again"]}
    assert world.collections(keys.others) == {"notes_8": ["the other's"]}


def test_the_default_collection_is_one_of_each_key(world: World, keys: Separation) -> None:
    world.embed(keys.mine, input="mine")
    world.embed(keys.others, input="the other's")
    assert world.collections(keys.mine) == {"conversations_8": ["mine"]}
    assert world.collections(keys.others) == {"conversations_8": ["the other's"]}
    assert world.found(keys.mine, query="the other's") == ["mine"]


def test_the_path_of_v1_stores_for_its_own_key(world: World, keys: Separation) -> None:
    for key, text in ((keys.mine, "mine"), (keys.others, "the other's")):
        answer = world.call("embed", "/embed", {"text": text, "collection": "notes"}, key.caller)
        assert answer.json()["bridge"]["stored"] == 1
    assert world.collections(keys.mine) == {"notes_8": ["mine"]}
    assert world.collections(keys.others) == {"notes_8": ["the other's"]}


def test_a_search_finds_the_records_of_its_own_key_only(world: World, keys: Separation) -> None:
    world.embed(keys.mine, input=["one", "two"], collection="notes")
    world.embed(keys.others, input=["three", "four"], collection="notes")
    for _ in range(2):  # the second time from the cache of collections
        assert world.found(keys.mine, query="three", collection="notes") == ["one", "two"]
        assert world.found(keys.others, query="one", collection="notes") == ["four", "three"]


def test_a_collection_that_only_the_other_key_has_is_not_found(world: World, keys: Separation) -> None:
    world.embed(keys.others, input="the other's", collection="secrets")
    assert world.found(keys.others, query="x", collection="secrets") == ["the other's"]
    for fields in ({}, {"all_dimensions": True}):
        answer = world.search(keys.mine, query="x", collection="secrets", **fields)
        assert (answer.status, answer.json()["error"]["code"]) == (404, "collection_not_found")
        assert "the other's" not in answer.text
        assert "_8" not in answer.text


def test_a_search_in_all_dimensions_finds_its_own_only(world: World, keys: Separation) -> None:
    world.embed(keys.mine, input="mine", collection="notes")
    world.embed(keys.others, input="the other's", collection="notes")
    world.embed(keys.others, input="the other's, wide", collection="notes", model="wide")
    answer = world.search(keys.mine, query="x", collection="notes", all_dimensions=True).json()
    assert [match["document"] for match in answer["matches"]] == ["mine"]
    assert answer["bridge"]["collections"] == ["notes_8"]
    assert world.found(keys.others, query="x", collection="notes", all_dimensions=True) == [
        "the other's",
        "the other's, wide",
    ]


def test_a_note_on_another_dimension_names_no_collection_of_the_other_key(world: World, keys: Separation) -> None:
    world.embed(keys.others, input="the other's", model="wide")
    answer = world.search(keys.mine, query="x").json()
    assert answer["bridge"]["notes"] == ["nothing has been stored in conversations_8 yet"]


def test_the_embedding_space_of_the_other_key_is_no_obstacle(world: World, keys: Separation) -> None:
    world.embed(keys.others, input="the other's", collection="notes", model="other")
    assert world.embed(keys.mine, input="mine", collection="notes", model="mini")["stored"] == 1
    assert world.found(keys.mine, query="mine", collection="notes", model="mini") == ["mine"]


def test_a_collection_of_v1_is_renamed_for_its_own_key_only(world: World, keys: Separation) -> None:
    world.fill(keys.mine, "notes", "old")
    world.fill(keys.others, "notes", "old")
    world.embed(keys.mine, input="mine", collection="notes")
    assert list(world.collections(keys.mine)) == ["notes_8"]
    assert list(world.collections(keys.others)) == ["notes"]
    assert world.found(keys.others, query="old", collection="notes") == [f"old of {keys.others.database}"]


def test_vectors_that_waited_for_chroma_are_stored_for_their_own_key(world: World) -> None:
    separations = [separation(kind) for kind in ALL_KINDS]
    world.chroma.kill()
    for keys in separations:
        world.use(separate_by_key=keys.separate_by_key)
        for key, text in ((keys.mine, "mine"), (keys.others, "the other's"), (keys.mine, "mine again")):
            assert world.embed(key, input=text, ids=["a"], collection="waiting")["pending"] == 1
    world.chroma.start()
    done = world.drain()
    assert (done["stored"], done["rejected"], done["left"]) == (3 * len(separations), 0, 0)
    for keys in separations:
        assert world.collections(keys.mine) == {"waiting_8": ["mine again"]}
        assert world.collections(keys.others)["waiting_8"] == ["the other's"]


def test_the_migration_of_one_database_leaves_the_other_alone(world: World, keys: Separation) -> None:
    for key in keys[:2]:
        world.fill(key, "notes", "a", "b")
        world.fill(key, "notes_8", "b", "c")
    place = {"tenant": keys.mine.database.tenant, "database": keys.mine.database.name}
    assert world.migrate(**place, dry_run=True).planned[0].how == "merge"
    assert world.migrate(**place).is_success
    where = keys.mine.database
    assert world.collections(keys.mine) == {"notes_8": [f"{one} of {where}" for one in "abc"]}
    assert {name: len(texts) for name, texts in world.collections(keys.others).items()} == {"notes": 2, "notes_8": 2}


def command(world: World, key: Key, *arguments: str | Path) -> Any:
    place = ["--chroma-tenant", key.database.tenant, "--chroma-database", key.database.name]
    runner = CliRunner(env={"CHROMA_URL": world.chroma.url})
    with ThreadPoolExecutor(1) as pool:  # a command closes the event loop of its thread, which the functions need
        return pool.submit(runner.invoke, app, [*map(str, arguments), *place]).result()


def test_the_command_migrates_one_database_and_leaves_the_other_alone(world: World, keys: Separation) -> None:
    for key in keys[:2]:
        world.fill(key, "notes", "a")
    done = command(world, keys.mine, "migrate-collections")
    assert done.exit_code == 0, done.output
    assert list(world.collections(keys.mine)) == ["notes_8"]
    assert list(world.collections(keys.others)) == ["notes"]


def test_a_backup_has_one_database_and_is_restored_to_one(world: World, keys: Separation, tmp_path: Path) -> None:
    world.embed(keys.mine, input="mine", ids=["a"], collection="notes")
    world.embed(keys.others, input="the other's", ids=["a"], collection="notes")
    file = tmp_path / "backup.gz"
    made = command(world, keys.mine, "backup", file, "--json")
    assert made.exit_code == 0, made.output
    assert [(one["name"], one["records"]) for one in json.loads(made.stdout)["collections"]] == [("notes_8", 1)]
    world.embed(keys.mine, input="newer", ids=["a"], collection="notes")
    restored = command(world, keys.mine, "restore", file)
    assert restored.exit_code == 0, restored.output
    assert world.collections(keys.mine) == {"notes_8": ["mine"]}
    assert world.collections(keys.others) == {"notes_8": ["the other's"]}


# --- What is the same for every kind of separation


@pytest.fixture
def own(world: World) -> Key:
    """A key with a database of its own, which does not exist yet."""
    world.use(separate_by_key=True)
    return separation("each key its own").mine


def test_a_database_is_created_when_its_key_first_stores_not_when_it_searches(world: World, own: Key) -> None:
    assert world.found(own, query="x") == []
    assert not world.server(own).has_database()
    world.embed(own, input="one")
    assert world.server(own).has_database()
    assert world.found(own, query="x") == ["one"]


def test_a_tenant_is_created_with_the_first_database(world: World) -> None:
    key = separation("tenants").mine
    world.embed(key, input="one")
    api = world.server(key)._api
    assert api.get_tenant(key.database.tenant)["name"] == key.database.tenant


def test_two_instances_that_create_a_database_at_once_both_store(world: World, own: Key) -> None:
    servers = [ChromaServer(ChromaConfig(url=world.chroma.url)).in_database(own.database) for _ in range(8)]

    def create(server: ChromaServer) -> str:
        return server.find_or_create("notes_8", metadata=None, configuration={}).id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, servers))) == 1


def test_a_database_that_was_deleted_is_created_again(world: World, own: Key) -> None:
    world.embed(own, input="one")
    world.server(own)._api.delete_database(own.database.name, tenant=own.database.tenant)
    assert world.embed(own, input="two")["stored"] == 1
    assert world.collections(own) == {"conversations_8": ["two"]}


def test_a_key_is_not_queued_behind_the_other_keys_pending_vectors(world: World, own: Key) -> None:
    others = separation("each key its own").others
    world.embed(own, input="before")  # so that the instance knows the counts of the table
    world.chroma.kill()
    assert world.embed(others, input="the other's")["pending"] == 1
    world.chroma.start()
    assert world.embed(own, input="one")["stored"] == 1
    assert world.embed(others, input="two")["pending"] == 1
    assert world.drain()["stored"] == 2


def test_without_keys_all_vectors_are_in_the_configured_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.use(separate_by_key=True)
    monkeypatch.setenv("AUTH_MODE", "none")
    anyone = Key(Caller(), DEFAULT)
    assert world.embed(anyone, input="one", collection="everybodys")["stored"] == 1
    assert world.collections(anyone)["everybodys_8"] == ["one"]


def test_a_key_may_name_the_configured_database_although_each_key_has_its_own(world: World) -> None:
    world.use(separate_by_key=True)
    shared = Key(Caller("key_shared", {}, KeyPolicy(chroma_database=DEFAULT.name)), DEFAULT)
    world.embed(shared, input="one", collection="shared")
    assert world.collections(shared)["shared_8"] == ["one"]


@pytest.mark.parametrize("name", ["../default_database", "a/b/c", "..", "%2e%2e", "ab", "a?b", "ä" * 3, "a" * 513])
@pytest.mark.parametrize("field", ["chroma_tenant", "chroma_database"])
def test_a_name_that_a_url_would_distort_is_403_and_nothing_is_called(world: World, field: str, name: str) -> None:
    key = Key(Caller("key_a", {}, KeyPolicy.from_json({field: name})), DEFAULT)
    calls = len(world.fake.received)
    for function, path, body in (
        ("embeddings", "/v1/embeddings", {"input": "x"}),
        ("embed", "/embed", {"text": "x", "collection": "notes"}),
        ("search", "/api/v1/search", {"query": "x"}),
    ):
        answer = world.call(function, path, body, key.caller)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "not_allowed_for_key")
    assert len(world.fake.received) == calls


def test_a_backup_of_a_database_that_does_not_exist_says_so(world: World, own: Key, tmp_path: Path) -> None:
    for arguments in (["backup", tmp_path / "backup.gz"], ["migrate-collections"]):
        done = command(world, own, *arguments)
        assert (done.exit_code, f"has no database {own.database}" in done.stderr) == (2, True), done.output
    assert world.migrate(database=own.database.name).note == f"there is no database {own.database}"
    assert list(tmp_path.iterdir()) == []


def test_a_restore_creates_the_database_and_a_dry_run_does_not(world: World, own: Key, tmp_path: Path) -> None:
    world.embed(own, input="one")
    file = tmp_path / "backup.gz"
    assert command(world, own, "backup", file).exit_code == 0
    moved = separation("each key its own").others
    planned = command(world, moved, "restore", file, "--dry-run")
    assert (planned.exit_code, "would be created" in planned.stdout) == (0, True), planned.output
    assert not world.server(moved).has_database()
    assert command(world, moved, "restore", file).exit_code == 0
    assert world.collections(moved) == {"conversations_8": ["one"]}
    assert world.found(moved, query="x") == ["one"]


def test_what_a_backup_of_another_database_left_is_not_resumed(world: World, own: Key, tmp_path: Path) -> None:
    others = separation("each key its own").others
    world.embed(own, input="mine")
    world.embed(others, input="the other's")
    file = tmp_path / "backup.gz"
    assert command(world, others, "backup", file).exit_code == 0
    file.rename(partial_path(file))
    assert command(world, own, "backup", file).exit_code == 0
    world.server(own).delete("conversations_8")
    assert command(world, own, "restore", file).exit_code == 0
    assert world.collections(own) == {"conversations_8": ["mine"]}


@pytest.mark.parametrize("option", ["--chroma-tenant", "--chroma-database"])
def test_an_invalid_name_is_a_usage_error(world: World, option: str, tmp_path: Path) -> None:
    for arguments in (["backup", tmp_path / "b.gz"], ["restore", tmp_path / "b.gz"], ["migrate-collections"]):
        done = CliRunner().invoke(app, [*map(str, arguments), "--chroma-url", world.chroma.url, option, "../x"])
        assert (done.exit_code, done.stderr.startswith(f"{option} ../x: ")) == (2, True), done.output


# --- A key that may not store


READ_ONLY = Key(Caller("key_readonly", {}, KeyPolicy(may_store=False)), DEFAULT)


def test_a_key_that_may_not_store_gets_its_vectors_and_nothing_is_stored(world: World) -> None:
    world.use(separate_by_key=False)
    before = world.collections(READ_ONLY)
    receipt = world.embed(READ_ONLY, input="one of a reader")
    assert (receipt["stored"], receipt["pending"], receipt["collection"], receipt["ids"]) == (0, 0, None, [])
    assert receipt["notes"] == ["not stored: this API key may not store vectors"]
    assert world.embed(READ_ONLY, input="two", store=False)["notes"] == []
    answer = world.call("embed", "/embed", {"text": "three"}, READ_ONLY.caller)
    assert (answer.status, "bridge" in answer.json()) == (200, False)
    assert world.collections(READ_ONLY) == before


@pytest.mark.parametrize(
    ("function", "path", "fields", "param"),
    [
        ("embeddings", "/v1/embeddings", {"input": "x", "collection": "notes"}, "collection"),
        ("embeddings", "/v1/embeddings", {"input": "x", "store": True}, "store"),
        ("embeddings", "/v1/embeddings", {"input": "x", "store": True, "collection": "notes"}, "collection"),
        ("embed", "/embed", {"text": "x", "collection": "notes"}, "collection"),
        ("embed", "/api/v1/embed", {"text": "x", "collection": "notes"}, "collection"),
    ],
)
def test_a_key_that_may_not_store_and_asks_for_it_is_refused_before_the_provider_is_called(
    world: World, function: str, path: str, fields: Any, param: str
) -> None:
    calls = len(world.fake.received)
    error = world.call(function, path, fields, READ_ONLY.caller).json()["error"]
    assert (error["code"], error["param"]) == ("not_allowed_for_key", param)
    assert error["message"] == f"this API key may not store vectors: leave `{param}` out"
    assert len(world.fake.received) == calls


def test_a_key_that_may_not_store_can_search_what_others_stored(world: World) -> None:
    world.use(separate_by_key=False)
    writer = Key(Caller("key_writer"), DEFAULT)
    world.embed(writer, input="to be read", collection="library")
    assert world.found(READ_ONLY, query="x", collection="library") == ["to be read"]


def test_no_collection_of_the_request_is_needed_for_vectors_that_are_not_to_be_stored(world: World) -> None:
    world.use(separate_by_key=False)
    assert world.embed(READ_ONLY, input="x", collection="notes", store=False)["stored"] == 0
