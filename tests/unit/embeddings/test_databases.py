"""The databases of one Chroma server: their message groups, stores and creation."""

import asyncio
import json
from io import StringIO

import pytest

from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings import Batch, Database, SpaceMismatch, StoreDown, StoreRefused, VectorRecord
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.deferred_writes.drain import Drain
from sekha_llm_bridge.embeddings.deferred_writes.outbox import Outbox
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import group_id_of
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.vector_queue import MemoryPendingWrites, MemoryQueue

TEAM = Database("team", "mine")
COLLECTIONS = "/api/v2/tenants/team/databases/mine/collections"
DATABASES = "/api/v2/tenants/team/databases"
MISSING = Reply(400, {"error": "InvalidArgumentError", "message": "Database [mine] does not exist"})


def test_a_collection_of_the_configured_database_keeps_the_group_of_older_versions() -> None:
    assert group_id_of("conversations_768") == "f85e9368c4e3e85d8dd4200e53d2d1b2"


def test_the_same_collection_of_two_databases_has_two_groups() -> None:
    databases = [None, TEAM, Database("team", "other"), Database("other", "mine"), Database("a", "b")]
    groups = {group_id_of("notes_3", one) for one in databases} | {group_id_of("b_notes_3", None)}
    assert len(groups) == len(databases) + 1


class RefusingStore:
    """Takes nothing in the database `TEAM`, and everything else."""

    def __init__(self, database: Database | None = None) -> None:
        self._database = database

    def in_database(self, database: Database) -> "RefusingStore":
        return RefusingStore(database)

    def is_up(self) -> bool:
        return True

    def upsert(self, batch: Batch) -> int:
        if self._database == TEAM:
            raise SpaceMismatch("of another space")
        return len(batch.records)


def test_vectors_that_one_database_rejects_do_not_keep_those_of_others_and_the_log_has_its_name(log: StringIO) -> None:
    clock, queue = FakeClock(), MemoryQueue()
    counts, store = MemoryPendingWrites(clock), RefusingStore()

    async def run() -> tuple[int, int, int]:
        for database in (TEAM, None, Database("team", "other")):
            batch = Batch("notes", 1, "mini", (VectorRecord("a", "text", [1.0]),), database)
            await Outbox(queue, counts, clock).enqueue(batch)
        drain = Drain(queue, counts, store, store, clock)  # type: ignore[arg-type]  # only what a drain calls
        done = await drain.run(until_s=clock.monotonic_s() + 60)
        return done.stored, done.rejected, done.left

    assert asyncio.run(run()) == (2, 1, 0)
    (line,) = map(json.loads, log.getvalue().splitlines()[:1])
    assert (line["message"], line["collection"]) == ("pending vectors rejected", "notes_1")
    assert line["database"] == "mine of the tenant team"


def test_a_database_keeps_its_store_and_no_other_has_it() -> None:
    store = ChromaStore(ChromaServer(ChromaConfig(url="http://127.0.0.1:9")), FakeClock(), default=None)
    assert store.in_database(TEAM) is store.in_database(Database("team", "mine"))
    assert store.in_database(TEAM) is not store.in_database(Database("team", "other"))
    assert store.in_database(TEAM) is not store


def test_all_databases_use_the_same_connections(fake: FakeProvider) -> None:
    server = ChromaServer(ChromaConfig(url=fake.url))
    assert server.in_database(TEAM)._api is server._api


def test_a_database_that_the_server_does_not_find_has_no_collections(fake: FakeProvider) -> None:
    fake.script(f"{COLLECTIONS}?limit=300&offset=0", Reply(404, {"error": "NotFoundError", "message": "no database"}))
    assert list(ChromaServer(ChromaConfig(url=fake.url)).in_database(TEAM).collections()) == []


def create(fake: FakeProvider, server: ChromaServer | None = None) -> None:
    server = server or ChromaServer(ChromaConfig.model_validate({"url": fake.url, "auth_token": "secret"}))
    server.in_database(TEAM).find_or_create("notes_3", metadata=None, configuration={})


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 501])
def test_a_server_that_creates_no_tenants_can_create_the_database(fake: FakeProvider, status: int) -> None:
    fake.script(COLLECTIONS, MISSING, Reply(200, {"id": "0" * 32, "name": "notes_3", "configuration_json": {}}))
    fake.script("/api/v2/tenants", Reply(status, {"error": "ChromaError", "message": "no"}))
    fake.script(DATABASES, Reply(200, {}))
    with pytest.raises(StoreDown, match="make a collection"):  # the fake's description of the collection is too short
        create(fake)
    assert [request.path for request in fake.received] == [COLLECTIONS, "/api/v2/tenants", DATABASES, COLLECTIONS]
    assert fake.received[2].body == {"name": "mine"}
    assert {request.headers["authorization"] for request in fake.received} == {"Bearer secret"}


def test_a_token_that_may_not_create_databases_is_reported(fake: FakeProvider) -> None:
    fake.script(COLLECTIONS, MISSING)
    fake.script("/api/v2/tenants", Reply(403, {}))
    fake.script(DATABASES, Reply(403, {}))
    with pytest.raises(StoreDown, match=r"Chroma did not make a database \(status 403\)"):
        create(fake)


def test_the_configured_database_is_not_created(fake: FakeProvider) -> None:
    fake.script(COLLECTIONS, MISSING)
    server = ChromaServer(ChromaConfig(url=fake.url, tenant=TEAM.tenant, database=TEAM.name))
    with pytest.raises(StoreRefused):
        create(fake, server)
    assert [request.path for request in fake.received] == [COLLECTIONS]
