"""The vector store on a real Chroma server."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings import (
    Batch,
    SpaceMismatch,
    StoreDown,
    StoreFailed,
    StoreRefused,
    VectorRecord,
    content_id,
)
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from tests.fakes.chroma import chroma_server, client_of
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider, Reply

_names = (f"notes{i}" for i in count())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as address:
        yield address


@pytest.fixture
def client(url: str) -> Any:
    """Chroma's own client, to check what the store wrote."""
    return client_of(url)


@pytest.fixture
def store(url: str) -> ChromaStore:
    return store_on(url, dimension=3)


@pytest.fixture
def name() -> str:
    """A base name that no other test uses."""
    return next(_names)


def store_on(url: str, *, dimension: int, clock: FakeClock | None = None) -> ChromaStore:
    return ChromaStore(
        ChromaServer(ChromaConfig(url=url)), clock or FakeClock(), default=EmbeddingSpace("mini", dimension)
    )


def batch(name: str, *texts: str, space: str = "mini", **fields: Any) -> Batch:
    records = tuple(VectorRecord(content_id(t), t, [float(len(t)), 1.0, 0.5], **fields) for t in texts)
    return Batch(name, 3, space, records)


def test_records_are_stored_in_the_collection_of_their_dimension(store: ChromaStore, client: Any, name: str) -> None:
    assert store.upsert(batch(name, "one", "three", metadata={"k": 1})) == 2
    kept = client.get_collection(f"{name}_3").get(include=["documents", "metadatas", "embeddings"])
    assert sorted(kept["documents"]) == ["one", "three"]
    assert kept["metadatas"] == [{"k": 1}, {"k": 1}]
    assert sorted(vector[0] for vector in kept["embeddings"]) == [3.0, 5.0]


def test_a_new_collection_measures_by_cosine_and_records_its_space(store: ChromaStore, client: Any, name: str) -> None:
    store.upsert(batch(name, "one", space="own"))
    collection = client.get_collection(f"{name}_3")
    assert collection.metadata == {"embedding_space": "own", "dimension": 3}
    assert collection.configuration_json["hnsw"]["space"] == "cosine"


def test_storing_the_same_records_again_adds_nothing(store: ChromaStore, client: Any, name: str) -> None:
    for _ in range(3):
        store.upsert(batch(name, "one", "two"))
    assert client.get_collection(f"{name}_3").count() == 2


def test_the_same_text_twice_in_a_batch_is_one_record(store: ChromaStore, client: Any, name: str) -> None:
    assert store.upsert(batch(name, "one", "one", "two")) == 2
    assert client.get_collection(f"{name}_3").count() == 2


def test_a_batch_larger_than_one_request_is_stored_completely(store: ChromaStore, client: Any, name: str) -> None:
    assert store.upsert(batch(name, *(f"text {i}" for i in range(2048)))) == 2048
    assert client.get_collection(f"{name}_3").count() == 2048


def test_vectors_of_another_space_are_refused_and_nothing_is_written(
    store: ChromaStore, client: Any, name: str
) -> None:
    store.upsert(batch(name, "one"))
    with pytest.raises(SpaceMismatch, match="holds vectors of the space mini, not other"):
        store.upsert(batch(name, "two", space="other"))
    assert client.get_collection(f"{name}_3").count() == 1


def test_a_new_store_refuses_an_existing_collection_of_another_space(store: ChromaStore, url: str, name: str) -> None:
    store.upsert(batch(name, "one", space="other"))
    fresh = store_on(url, dimension=3)
    with pytest.raises(SpaceMismatch):
        fresh.upsert(batch(name, "two", space="mini"))


def test_a_collection_without_a_recorded_space_gets_that_of_the_default_model(
    store: ChromaStore, client: Any, name: str
) -> None:
    old = client.create_collection(
        f"{name}_3", metadata={"made_by": "v1", "hnsw:space": "cosine"}, embedding_function=None
    )
    old.add(ids=["old"], embeddings=[[1.0, 2.0, 3.0]])
    assert store.upsert(batch(name, "one")) == 1
    marked = client.get_collection(f"{name}_3")
    assert marked.metadata == {"made_by": "v1", "measured_by": "cosine", "embedding_space": "mini", "dimension": 3}
    assert marked.count() == 2


def test_a_collection_without_a_recorded_space_is_refused_if_the_default_has_another_dimension(
    client: Any, url: str, name: str
) -> None:
    client.create_collection(f"{name}_3", embedding_function=None)
    other = store_on(url, dimension=768)
    with pytest.raises(SpaceMismatch, match="vectors of an unknown space"):
        other.upsert(batch(name, "one"))


def test_a_collection_that_another_process_deleted_is_created_again(store: ChromaStore, client: Any, name: str) -> None:
    store.upsert(batch(name, "one"))
    client.delete_collection(f"{name}_3")
    assert store.upsert(batch(name, "two")) == 1
    assert client.get_collection(f"{name}_3").count() == 1


def test_an_unreachable_server_raises_store_failed_without_the_stored_text(name: str) -> None:
    gone = store_on("http://127.0.0.1:9", dimension=3)
    with pytest.raises(StoreFailed) as caught:
        gone.upsert(batch(name, "the secret text"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(502, raw=b"<html>bad gateway</html>"),
        Reply(401, raw=b"no"),
        Reply(429, {}),
        Reply(200, {}),
        Reply(200, []),
    ],
    ids=lambda reply: str(reply.status),
)
def test_any_server_that_is_not_chroma_raises_store_failed(name: str, reply: Reply, fake: FakeProvider) -> None:
    path = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    for place in (path, f"{path}/{name}_3"):
        fake.always(place, reply)
    odd = store_on(fake.url, dimension=3)
    with pytest.raises(StoreFailed):
        odd.upsert(batch(name, "the secret text"))


def test_a_collection_that_was_renamed_is_no_longer_used_after_a_minute(
    url: str, client: Any, name: str, clock: FakeClock
) -> None:
    store = store_on(url, dimension=3, clock=clock)
    store.upsert(batch(name, "one"))
    client.get_collection(f"{name}_3").modify(name=f"{name}_old")
    client.create_collection(f"{name}_3", embedding_function=None)
    clock.advance(61)
    store.upsert(batch(name, "two"))
    assert client.get_collection(f"{name}_3").get()["documents"] == ["two"]


def test_a_base_name_that_ends_with_the_dimension_is_the_name_of_the_collection(
    store: ChromaStore, client: Any, name: str
) -> None:
    store.upsert(batch(f"{name}_3", "one"))
    store.upsert(batch(name, "two"))
    assert sorted(client.get_collection(f"{name}_3").get()["documents"]) == ["one", "two"]


def test_an_abandoned_write_sends_no_further_request(store: ChromaStore, client: Any, name: str) -> None:
    with pytest.raises(StoreDown):
        store.upsert(batch(name, "one"), should_continue=lambda: False)
    assert client.get_collection(f"{name}_3").count() == 0


@pytest.fixture
def old(client: Any, name: str) -> Any:
    """A collection as v1 made it."""
    collection = client.create_collection(name, metadata={"made_by": "v1"}, embedding_function=None)
    collection.add(ids=["old"], embeddings=[[1.0, 2.0, 3.0]], documents=["old"])
    return collection


def test_a_collection_without_a_dimension_is_renamed_before_its_first_use(
    store: ChromaStore, client: Any, name: str, old: Any
) -> None:
    store.upsert(batch(name, "new"))
    moved = client.get_collection(f"{name}_3")
    assert (moved.id, moved.get()["documents"]) == (old.id, ["old", "new"])
    assert moved.metadata == {"made_by": "v1", "embedding_space": "mini", "dimension": 3}
    assert name not in [collection.name for collection in client.list_collections()]


def test_it_is_renamed_by_its_own_dimension_not_that_of_the_new_vectors(
    store: ChromaStore, client: Any, name: str, old: Any
) -> None:
    records = (VectorRecord("new", "new", [1.0, 2.0]),)
    store.upsert(Batch(name, 2, "two", records))
    assert client.get_collection(f"{name}_3").get()["ids"] == ["old"]
    assert client.get_collection(f"{name}_2").get()["ids"] == ["new"]


def test_a_search_also_renames_it(store: ChromaStore, name: str, old: Any) -> None:
    matches = store.query(f"{name}_3", "mini", [1.0, 2.0, 3.0], limit=5, where=None)
    assert [(match.id, match.score) for match in matches] == [("old", 1.0)]


def test_if_both_names_are_taken_nothing_is_renamed_and_the_new_collection_is_used(
    store: ChromaStore, client: Any, name: str, old: Any
) -> None:
    client.create_collection(f"{name}_3", embedding_function=None)
    store.upsert(batch(name, "new"))
    assert client.get_collection(name).get()["ids"] == ["old"]
    assert client.get_collection(f"{name}_3").get()["documents"] == ["new"]


def test_an_empty_old_collection_is_not_renamed(store: ChromaStore, client: Any, name: str) -> None:
    client.create_collection(name, embedding_function=None)
    store.upsert(batch(name, "new"))
    assert {name, f"{name}_3"} <= {collection.name for collection in client.list_collections()}


def test_every_request_has_the_token(name: str, fake: FakeProvider) -> None:
    config = ChromaConfig.model_validate({"url": fake.url, "auth_token": "secret"})
    with pytest.raises(StoreFailed):
        ChromaStore(ChromaServer(config), FakeClock(), default=None).upsert(batch(name, "one"))
    path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{name}"
    assert fake.calls(path)[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [{"error": "ChromaError", "message": "the secret text"}, {"detail": "no"}])
def test_a_temporary_status_raises_store_down_whatever_the_body_is(
    name: str, fake: FakeProvider, status: int, body: object
) -> None:
    path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{name}"
    fake.always(path, Reply(status, body))
    with pytest.raises(StoreDown, match=f"status {status}") as caught:
        store_on(fake.url, dimension=3).upsert(batch(name, "one"))
    assert "secret" not in str(caught.value)


def test_a_missing_database_raises_store_down(url: str, name: str) -> None:
    config = ChromaConfig(url=url, database="not_made_yet")
    with pytest.raises(StoreDown):
        ChromaStore(ChromaServer(config), FakeClock(), default=None).upsert(batch(name, "one"))


def test_a_collection_whose_name_has_another_dimension_is_not_changed(
    store: ChromaStore, client: Any, name: str
) -> None:
    odd = client.create_collection(f"{name}_3", metadata={"made_by": "v1"}, embedding_function=None)
    odd.add(ids=["odd"], embeddings=[[1.0] * 5])
    with pytest.raises(SpaceMismatch, match="5 dimensions"):
        store.upsert(batch(name, "one"))
    assert client.get_collection(f"{name}_3").metadata == {"made_by": "v1"}


def test_connections_that_were_idle_are_replaced(url: str, name: str, clock: FakeClock) -> None:
    server = ChromaServer(ChromaConfig(url=url), clock=clock)
    store = ChromaStore(server, clock, default=None)
    store.upsert(batch(name, "one"))
    before = server._api._session
    clock.advance(20)
    store.upsert(batch(name, "two"))
    assert server._api._session is before
    clock.freeze(31)
    store.prepare()
    assert server._api._session is not before
    assert store.upsert(batch(name, "three")) == 1


def test_frequent_searches_do_not_extend_the_caching_of_a_collection(
    url: str, client: Any, name: str, clock: FakeClock
) -> None:
    store = store_on(url, dimension=3, clock=clock)
    store.upsert(batch(name, "one"))
    client.get_collection(f"{name}_3").modify(name=f"{name}_old")
    client.create_collection(f"{name}_3", metadata={"embedding_space": "mini"}, embedding_function=None)
    found = []
    for _ in range(4):
        found.append(len(store.query(f"{name}_3", "mini", [1.0, 2.0, 3.0], limit=5, where=None)))
        clock.advance(25)
    assert found == [1, 1, 1, 0]


def test_a_batch_that_chroma_rejects_raises_store_refused(store: ChromaStore, name: str) -> None:
    store.upsert(batch(name, "one"))
    wrong = Batch(f"{name}_3", 3, "mini", (VectorRecord("x", "x", [1.0, 2.0]),))
    with pytest.raises(StoreRefused):
        store.upsert(wrong)


@pytest.mark.parametrize("after", [{"b": 3}, {}, None])
def test_a_record_that_is_written_again_has_only_its_last_metadata(
    store: ChromaStore, client: Any, name: str, after: dict[str, int] | None
) -> None:
    for text, metadata in (("old", {"a": 1, "b": 2}), ("new", after)):
        store.upsert(Batch(name, 3, "mini", (VectorRecord("x", text, [1.0, 1.0, 1.0], metadata),)))
    kept = client.get_collection(f"{name}_3").get()
    assert (kept["documents"], kept["metadatas"][0] or {}) == (["new"], after or {})


def test_a_text_that_is_stored_again_without_metadata_keeps_its_metadata(
    store: ChromaStore, client: Any, name: str
) -> None:
    store.upsert(batch(name, "one", metadata={"k": 1}))
    store.upsert(batch(name, "one"))
    assert client.get_collection(f"{name}_3").get()["metadatas"] == [{"k": 1}]


def test_a_search_in_a_collection_whose_name_has_another_dimension_is_refused(
    store: ChromaStore, client: Any, name: str
) -> None:
    odd = client.create_collection(f"{name}_3", metadata={"embedding_space": "mini"}, embedding_function=None)
    odd.add(ids=["odd"], embeddings=[[1.0] * 5])
    with pytest.raises(SpaceMismatch, match="5 dimensions"):
        store.query(f"{name}_3", "mini", [1.0, 2.0, 3.0], limit=1, where=None)


def test_a_request_is_sent_again_after_a_server_error(fake: FakeProvider) -> None:
    path = "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=300&offset=0"
    fake.script(path, Reply(500, {}), Reply(503, {}), Reply(200, []))
    sleeps: list[float] = []
    server = ChromaServer(ChromaConfig(url=fake.url), max_attempts=3, sleep=sleeps.append)
    assert list(server.collections()) == []
    assert sleeps == [0.3, 0.6]
    fake.script(path, Reply(500, {}), Reply(500, {}), Reply(500, {}))
    with pytest.raises(StoreDown, match="status 500"):
        list(server.collections())
