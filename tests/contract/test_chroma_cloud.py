"""The vector store, the functions and the drain on Chroma Cloud: its quotas in a proxy before a real Chroma server."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.bootstrap.background import make_drain
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings import Batch, QuotaExceeded, StoreDown, StoreRefused, VectorRecord, content_id
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.jobs.drain import drain
from tests.fakes.chroma import chroma_server, client_of
from tests.fakes.chroma_cloud import TOKEN, ChromaCloud
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import embedding_model, make_settings, provider

LONG = "word " * 4_000  # 20 kB
_names = (f"notes{i}" for i in count())


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as address:
        yield address


@pytest.fixture
def cloud(server_url: str) -> Iterator[ChromaCloud]:
    with ChromaCloud(server_url) as proxy:
        yield proxy


@pytest.fixture
def store(cloud: ChromaCloud) -> ChromaStore:
    config = ChromaConfig(url=cloud.url, auth_token=TOKEN)
    return ChromaStore(ChromaServer(config), FakeClock(), default=EmbeddingSpace("mini", 3))


@pytest.fixture
def name() -> str:
    """A base name that no other test uses."""
    return next(_names)


def batch(name: str, *texts: str, **fields: Any) -> Batch:
    records = tuple(
        VectorRecord(content_id(text), text, [float(i), 1.0, 0.5], **fields) for i, text in enumerate(texts)
    )
    return Batch(name, 3, "mini", records)


def documents(server_url: str, name: str, *, dimension: int = 3) -> set[str]:
    return set(client_of(server_url).get_collection(f"{name}_{dimension}").get(include=["documents"])["documents"])


def statuses(cloud: ChromaCloud) -> list[int]:
    return [status for _, path, status in cloud.requests if path.endswith("/upsert")]


def test_a_large_batch_is_sent_in_writes_that_the_quotas_allow(
    cloud: ChromaCloud, store: ChromaStore, server_url: str, name: str
) -> None:
    texts = [f"text {i}" for i in range(700)]
    assert store.upsert(batch(name, *texts, metadata={"n": 1})) == 700
    assert documents(server_url, name) == set(texts)
    assert statuses(cloud) == [200, 200, 200]


def test_an_account_with_a_smaller_quota_gets_smaller_writes(
    cloud: ChromaCloud, store: ChromaStore, server_url: str, name: str
) -> None:
    cloud.limits["Number of records"] = 100
    texts = [f"text {i}" for i in range(300)]
    assert store.upsert(batch(name, *texts)) == 300
    assert documents(server_url, name) == set(texts)


def test_a_text_that_is_too_long_is_refused_and_all_others_are_stored(
    cloud: ChromaCloud, store: ChromaStore, server_url: str, name: str
) -> None:
    texts = [*(f"text {i}" for i in range(40)), LONG, LONG + "."]
    message = (
        r"2 of 42 records: Chroma did not write \(a quota .*Document size \(bytes\) 200\d\d, at most 16384 are allowed"
    )
    with pytest.raises(QuotaExceeded, match=message) as refused:
        store.upsert(batch(name, *texts))
    assert refused.value.stored == 40
    assert documents(server_url, name) == set(texts[:40])
    assert len(statuses(cloud)) < 6  # the long ones are suspected first


@pytest.mark.parametrize(
    "metadata", [{"k" * 37: 1}, {"k": "v" * 4_097}, {f"k{i}": i for i in range(33)}], ids=["key", "value", "keys"]
)
def test_metadata_beyond_a_quota_are_refused_and_not_cut(
    store: ChromaStore, server_url: str, name: str, metadata: dict[str, Any]
) -> None:
    store.upsert(batch(name, "before"))
    with pytest.raises(QuotaExceeded, match="1 of 1 records"):
        store.upsert(batch(name, "with metadata", metadata=metadata))
    assert documents(server_url, name) == {"before"}


def test_a_quota_of_the_account_ends_the_write_after_a_few_requests(
    cloud: ChromaCloud, store: ChromaStore, name: str
) -> None:
    cloud.limits["Collection size (records)"] = 0
    with pytest.raises(QuotaExceeded, match="Collection size"):
        store.upsert(batch(name, *(f"text {i}" for i in range(300))))
    assert len(statuses(cloud)) < 20


def test_a_server_without_quotas_takes_the_long_text(server_url: str, name: str) -> None:
    own = ChromaStore(ChromaServer(ChromaConfig(url=server_url)), FakeClock(), default=EmbeddingSpace("mini", 3))
    assert own.upsert(batch(name, "short", LONG)) == 2
    assert documents(server_url, name) == {"short", LONG}


def test_a_wrong_token_can_be_corrected_so_the_vectors_wait(cloud: ChromaCloud, name: str) -> None:
    config = ChromaConfig(url=cloud.url, auth_token="wrong")
    with pytest.raises(StoreDown):
        ChromaStore(ChromaServer(config), FakeClock(), default=None).upsert(batch(name, "one"))


def test_a_name_beyond_the_quotas_of_the_account_is_refused_for_good(
    cloud: ChromaCloud, store: ChromaStore, name: str
) -> None:
    def refusing(path: str, *_: Any) -> tuple[str, int, int] | None:
        return ("Number of collections", 2, 1) if path.endswith("/collections") else None

    cloud.excess = refusing  # type: ignore[assignment,method-assign]  # a quota that the stand-in does not have
    with pytest.raises(StoreRefused, match="Number of collections 2, at most 1"):
        store.upsert(batch(name, "one"))


# ---- The functions


@pytest.fixture(scope="module")
def aws() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


def settings_of(cloud: ChromaCloud, fake: FakeProvider, name: str) -> Any:
    return make_settings(
        provider("p", embedding_model("mini", dimension=8, context_window=32_000), base_url=f"{fake.url}/v1"),
        chroma={"url": cloud.url, "auth_token": TOKEN, "default_collection": name},
        default_models={"embedding": "mini"},
    )


def test_the_caller_of_embeddings_gets_all_vectors_and_a_note_of_what_was_not_stored(
    cloud: ChromaCloud, fake: FakeProvider, name: str
) -> None:
    embed = Function("embeddings", make_bridge(settings_of(cloud, fake, name)))
    answer = embed("POST", "/v1/embeddings", {"input": ["short", LONG]})
    body = answer.json()
    assert (answer.status, len(body["data"])) == (200, 2)
    assert (body["bridge"]["stored"], body["bridge"].get("pending", 0)) == (1, 0)
    assert "not stored: 1 of 2 records: Chroma did not write" in " ".join(body["bridge"]["notes"])
    assert "16384" in " ".join(body["bridge"]["notes"])


@pytest.mark.parametrize(("fields", "param"), [({"n_results": 301}, "n_results"), ({"n_results": 300}, None)])
def test_a_search_for_more_results_than_the_quota_is_a_400(
    cloud: ChromaCloud, fake: FakeProvider, name: str, fields: dict[str, int], param: str | None
) -> None:
    settings = settings_of(cloud, fake, name)
    Function("embeddings", make_bridge(settings))("POST", "/v1/embeddings", {"input": "red"})
    answer = Function("search", make_bridge(settings))("POST", "/api/v1/search", {"query": "red", **fields})
    assert (answer.status, answer.json().get("error", {}).get("param")) == (400 if param else 200, param)
    assert param is None or "at most 300 are allowed" in answer.json()["error"]["message"]


def test_the_drain_stores_what_the_quotas_allow_and_puts_the_rest_aside_at_once(
    cloud: ChromaCloud,
    fake: FakeProvider,
    aws: DynamoDb,
    server_url: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for service in ("SQS", "DYNAMODB"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", aws.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    table, queues = aws.new_table(), aws.new_queue()

    def bridge() -> Any:
        return make_bridge(
            settings_of(cloud, fake, name),
            table=table,
            queue_url=queues.url,
            dead_letters_url=queues.dead_letters_url,
        )

    healthy, cloud.server_url = cloud.server_url, "http://127.0.0.1:9"
    embed = Function("embeddings", bridge())
    queued = embed("POST", "/v1/embeddings", {"input": ["short", LONG]}).json()["bridge"]
    assert (queued["stored"], queued["pending"]) == (0, 2)
    cloud.server_url = healthy

    async def run() -> dict[str, Any]:
        drained = bridge()
        done = await drain(make_drain(drained, max_empty_receives=1), drained.clock, for_s=60)
        await drained.connections.aclose()
        return done

    done = asyncio.run(run())
    assert (done["stored"], done["rejected"], done["left"]) == (1, 1, 0)
    assert documents(server_url, name, dimension=8) == {"short"}
    kept = aws.sqs.receive_message(QueueUrl=queues.dead_letters_url)["Messages"]
    assert len(kept) == 1  # with its vectors: nothing is lost
