"""Chroma is killed at any moment: every request is answered, and afterwards every record is stored exactly once.

The tests use a real Chroma server, SQS and DynamoDB by moto, and the functions' own handlers.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.bootstrap.background import make_drain
from sekha_llm_bridge.jobs.drain import drain
from tests.fakes.chroma import ChromaProcess, client_of
from tests.fakes.dynamodb import REGION, DynamoDb, Queues
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import embedding_model, make_settings, provider

PATH = "/v1/embeddings"
TEXTS = [f"text number {i}" for i in range(1_000)]


class World:
    """Functions that share one Chroma server, one queue and one table."""

    def __init__(self, fake: FakeProvider, aws: DynamoDb, chroma: ChromaProcess) -> None:
        self.fake = fake
        self.aws = aws
        self.chroma = chroma
        self.table = aws.new_table()
        self.queues: Queues = aws.new_queue()
        self.embeddings = Function("embeddings", self.bridge())
        self.health = Function("health", self.bridge())
        self.loop = asyncio.get_event_loop()  # the event loop of the functions

    def bridge(self) -> Bridge:
        """Returns the bridge of a new function instance."""
        mini = embedding_model("mini", dimension=8)
        other = embedding_model("other", dimension=8)
        return make_bridge(
            make_settings(
                provider("p", mini, other, base_url=f"{self.fake.url}/v1"),
                chroma={"url": self.chroma.url},
                default_models={"embedding": "mini"},
            ),
            table=self.table,
            queue_url=self.queues.url,
            dead_letters_url=self.queues.dead_letters_url,
        )

    def embed(self, **fields: Any) -> Any:
        answer = self.embeddings("POST", PATH, fields)
        assert answer.status == 200, answer.text
        return answer.json()["bridge"]

    def drain(self) -> dict[str, Any]:
        """Runs the scheduled function once, in a new instance. It stops at the first empty receive, because moto's queue
        returns every message.
        """
        bridge = self.bridge()

        async def run() -> dict[str, Any]:
            done = await drain(make_drain(bridge, max_empty_receives=1), bridge.clock, for_s=60)
            await bridge.connections.aclose()
            return done

        return self.loop.run_until_complete(run())

    def collection(self, name: str) -> Any:
        return client_of(self.chroma.url).get_collection(name, embedding_function=None)

    def hide_for(self, *, seconds: int) -> None:
        """Sets how long messages that are received from now on are hidden."""
        self.aws.sqs.set_queue_attributes(QueueUrl=self.queues.url, Attributes={"VisibilityTimeout": str(seconds)})

    def pending(self) -> Any:
        return self.health("GET", "/api/v1/health").json()["vectors"]["pending"]


@pytest.fixture(scope="module")
def aws() -> Iterator[DynamoDb]:
    with DynamoDb() as running:
        yield running


@pytest.fixture
def world(fake: FakeProvider, aws: DynamoDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in {
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL_DYNAMODB": aws.url,
        "AWS_ENDPOINT_URL_SQS": aws.url,
    }.items():
        monkeypatch.setenv(name, value)
    chroma = ChromaProcess(tmp_path)
    world = World(fake, aws, chroma)
    yield world
    chroma.end()


def assert_complete(world: World, name: str = "conversations_8") -> None:
    """Asserts that each text is stored once."""
    kept = world.collection(name).get(include=["documents", "embeddings"])
    assert len(kept["ids"]) == len(TEXTS)
    assert sorted(kept["documents"]) == sorted(TEXTS)


def test_chroma_killed_before_a_batch(world: World) -> None:
    receipt = world.embed(input=TEXTS)
    assert (receipt["stored"], receipt["pending"]) == (0, 1_000)
    assert world.pending() == 1_000
    assert world.drain()["note"] == "Chroma does not answer"
    assert world.pending() == 1_000
    world.chroma.start()
    assert world.drain()["stored"] == 1_000
    assert_complete(world)
    assert world.pending() == 0
    assert world.drain() == {"stored": 0, "rejected": 0, "left": 0, "note": None}


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.3])
def test_chroma_killed_during_a_batch(world: World, after_s: float) -> None:
    world.chroma.start()
    world.embed(input=["warm up"], collection="other")
    killing = threading.Timer(after_s, world.chroma.kill)
    killing.start()
    receipts = [world.embed(input=TEXTS[start : start + 250]) for start in range(0, 1_000, 250)]
    killing.join()
    assert sum(one["stored"] + one["pending"] for one in receipts) == 1_000
    world.chroma.start()
    world.drain()
    assert_complete(world)


def test_chroma_killed_after_a_batch(world: World) -> None:
    world.chroma.start()
    assert world.embed(input=TEXTS)["stored"] == 1_000
    world.chroma.kill()
    assert world.embed(input=TEXTS)["pending"] == 1_000
    world.chroma.start()
    assert world.embed(input=TEXTS)["pending"] == 1_000, "it is queued behind the records that are pending"
    world.drain()
    assert_complete(world)
    assert world.embed(input=TEXTS)["stored"] == 1_000
    assert_complete(world)


def test_the_newer_record_is_stored_last_although_another_instance_wrote_it(world: World) -> None:
    first = world.embed(input="old", ids=["a"], metadatas=[{"n": 1}])
    assert first["pending"] == 1
    world.chroma.start()
    other_instance = world.embeddings.with_bridge(world.bridge())
    answer = other_instance("POST", PATH, {"input": "new", "ids": ["a"], "metadatas": [{"n": 2}]})
    assert answer.json()["bridge"]["pending"] == 1
    world.drain()
    kept = world.collection("conversations_8").get(ids=["a"])
    assert (kept["documents"], kept["metadatas"]) == (["new"], [{"n": 2}])


def test_other_collections_are_stored_directly(world: World) -> None:
    world.embed(input="one", collection="notes")
    world.chroma.start()
    assert world.embed(input="two", collection="poems")["stored"] == 1


def test_a_drain_that_is_killed_is_continued_by_the_next(world: World) -> None:
    for start in range(0, 1_000, 100):
        world.embed(input=TEXTS[start : start + 100])
    world.chroma.start()
    bridge = world.bridge()

    world.hide_for(seconds=1)

    async def killed() -> None:
        running = asyncio.create_task(drain(make_drain(bridge), bridge.clock, for_s=60))
        await asyncio.sleep(0.3)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    world.loop.run_until_complete(killed())
    world.hide_for(seconds=300)
    while world.drain()["left"]:  # the messages of the killed one are hidden for a second
        pass
    assert_complete(world)


def test_records_that_chroma_rejects_go_to_the_dead_letters_and_the_rest_is_stored(world: World) -> None:
    world.embed(input="of the one", collection="notes")
    world.embed(input="of the other", model="other", collection="notes")
    world.embed(input="again", collection="notes")
    world.chroma.start()
    done = world.drain()
    assert (done["stored"], done["rejected"], done["left"]) == (2, 1, 0)
    assert sorted(world.collection("notes_8").get()["documents"]) == ["again", "of the one"]
    dead_letters = world.aws.sqs.receive_message(QueueUrl=world.queues.dead_letters_url)["Messages"]
    assert len(dead_letters) == 1
    assert world.pending() == 0


def test_without_its_table_the_vectors_are_queued_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    receipt = world.embeddings.with_bridge(world.bridge())("POST", PATH, {"input": "one"}).json()["bridge"]
    assert receipt["pending"] == 1
    world.chroma.start()
    world.drain()
    assert world.collection("conversations_8").count() == 1


def test_without_its_queue_the_response_says_that_the_vectors_are_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    answer = world.embeddings.with_bridge(world.bridge())("POST", PATH, {"input": "one"})
    assert answer.status == 200
    receipt = answer.json()["bridge"]
    assert (receipt["stored"], receipt["pending"]) == (0, 0)
    assert "not kept for later" in receipt["notes"][0]
