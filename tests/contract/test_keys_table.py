"""The table of API keys on DynamoDB over HTTP: reads, and what is read when it fails."""

import asyncio
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.access.keys.dynamodb import DynamoKeyStore, key_store
from sekha_llm_bridge.access.keys.key_text import KeyText, new_key
from sekha_llm_bridge.access.keys.record import KeyRecord, Rejection, UnreadableRecord
from sekha_llm_bridge.access.keys.verifier import KeysUnavailable, KeyVerifier
from sekha_llm_bridge.config.vocabulary import Task
from sekha_llm_bridge.connections import Connections
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.provider import FakeProvider, Reply

T = TypeVar("T")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = KeyPolicy(
    models=("openai/*", "clé"),
    tasks=(Task.CHAT_SMALL,),
    max_cost_per_request_usd=Decimal("0.10"),
    requests_per_minute=60,
    daily_usd=Decimal(5),
    chroma_database="team",
    may_store=False,
)


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture(autouse=True)
def endpoint(dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)


class Table:
    """A table of keys, and an event loop for its requests."""

    def __init__(self, runner: asyncio.Runner, dynamodb: DynamoDb, connections: Connections, clock: FakeClock) -> None:
        self.name = dynamodb.new_table("KeysTable")
        self.store = DynamoKeyStore(self.name, connections, clock)
        self.verifier = KeyVerifier(self.store, clock)
        self._dynamodb = dynamodb
        self._runner = runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def write(self, item: dict[str, Any]) -> None:
        self._dynamodb.client.put_item(TableName=self.name, Item=item)

    def add(self, **fields: Any) -> tuple[KeyText, KeyRecord]:
        key = new_key()
        record = KeyRecord(key.key_id, key.digest, "a key", NOW)._replace(**fields)
        self.write(record.as_attributes())
        self._dynamodb.requests.clear()
        return key, record

    def actions(self) -> list[str]:
        return [one.action for one in self._dynamodb.requests if one.caller != "test-observer"]


@pytest.fixture
def table(dynamodb: DynamoDb, clock: FakeClock) -> Iterator[Table]:
    connections = Connections(clock)
    with asyncio.Runner() as runner:
        yield Table(runner, dynamodb, connections, clock)
        runner.run(connections.aclose())


def test_a_stored_record_is_read_as_it_was_written(table: Table) -> None:
    key, record = table.add(
        labels={"team": "recherche, été"},
        policy=POLICY,
        expires=NOW + timedelta(1),
        revoked=NOW,
        earlier_digest=new_key().digest,
        earlier_until=NOW,
    )
    assert table.run(table.store.read(key.key_id)) == record


def test_a_handle_that_the_table_does_not_have_is_none(table: Table) -> None:
    assert table.run(table.store.read(new_key().key_id)) is None


def test_a_record_of_another_version_is_unreadable(table: Table) -> None:
    key, record = table.add()
    table.write({**record.as_attributes(), "policy": {"S": '{"moon_phase": "full"}'}})
    with pytest.raises(UnreadableRecord):
        table.run(table.store.read(key.key_id))


def test_a_hundred_requests_with_one_key_cost_one_consistent_read(table: Table, dynamodb: DynamoDb) -> None:
    key, record = table.add(policy=POLICY)
    headers = {"authorization": f"Bearer {key.text}"}

    async def many() -> list[Caller | Rejection]:
        return await asyncio.gather(*[table.verifier.verify(headers) for _ in range(100)])

    assert table.run(many()) == [record.caller] * 100
    assert table.actions() == ["GetItem"]
    assert dynamodb.requests[0].request["ConsistentRead"] is True


def test_a_flood_of_bad_keys_costs_reads_only_for_those_with_a_right_checksum(table: Table) -> None:
    key, _ = table.add()
    damaged = [key.text[:place] + "-" + key.text[place + 1 :] for place in range(len(key.text))]
    arbitrary = [f"sk-sekha-{number}" for number in range(1000)]
    wrong_secrets = [new_key(key.key_id).text for _ in range(500)]
    invented = [new_key().text for _ in range(20)]

    async def flood(texts: list[str]) -> set[Caller | Rejection]:
        return {await table.verifier.verify({"x-api-key": text}) for text in texts}

    texts = [text for text in damaged if text != key.text] + arbitrary
    assert table.run(flood(texts)) == {Rejection.MALFORMED}
    assert table.actions() == []
    assert table.run(flood(wrong_secrets)) == {Rejection.UNKNOWN}
    assert table.actions() == ["GetItem"] * 2  # the first, and one more in case that the key was just rotated
    assert table.run(flood(invented * 50)) == {Rejection.UNKNOWN}
    assert table.actions() == ["GetItem"] * 22


def test_the_store_of_the_environment_reads_the_table_that_it_names(
    table: Table, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, record = table.add()
    monkeypatch.setenv("KEYS_TABLE", table.name)

    async def read() -> KeyRecord | None:
        connections = Connections(clock)
        try:
            return await key_store(connections, clock).read(key.key_id)
        finally:
            await connections.aclose()

    assert table.run(read()) == record


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"__type": "x#ThrottlingException", "message": "secret"}),
        Reply(400, {"__type": "x#ResourceNotFoundException", "message": "secret"}),
        Reply(500, {"message": "secret"}),
        Reply(200, "no JSON, secret"),
    ],
)
def test_a_table_that_fails_is_unavailable_and_its_text_is_not_told(
    fake: FakeProvider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    fake.always("/", reply)
    with pytest.raises(KeysUnavailable) as error:
        read_from(fake, clock, monkeypatch)
    assert str(error.value).startswith("DynamoDB request failed (")
    assert "secret" not in str(error.value)


def test_a_table_that_does_not_answer_in_time_is_unavailable(
    fake: FakeProvider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.always("/", Reply(hang=True))
    with pytest.raises(KeysUnavailable):
        read_from(fake, clock, monkeypatch)


def read_from(fake: FakeProvider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", fake.url)

    async def read() -> None:
        connections = Connections(clock)
        try:
            verifier = KeyVerifier(DynamoKeyStore("keys", connections, clock, timeout_s=0.2), clock)
            await verifier.verify({"x-api-key": new_key().text})
        finally:
            await connections.aclose()

    asyncio.run(read())
