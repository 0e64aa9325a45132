"""`StateTable` on DynamoDB over HTTP: keys, reads and conditional updates."""

import asyncio
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.aws.state_table import (
    MIGRATION_LEASE,
    PENDING_WRITES,
    ItemKey,
    StateTable,
    Update,
    UpdateResult,
    provider_key,
)
from sekha_llm_bridge.connections import Connections
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, TTL_ATTRIBUTE, DynamoDb
from tests.fakes.provider import FakeProvider, Reply

T = TypeVar("T")
KEY = ItemKey("owner", "first")
OTHER = ItemKey("owner", "second")
THREE = {"N": "3"}


class TableFailed(Exception):
    """The error type of the table in these tests."""


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


class Table:
    """A table and an event loop for its requests."""

    def __init__(self, runner: asyncio.Runner, connections: Connections, clock: FakeClock, name: str) -> None:
        self.name = name
        self._runner = runner
        self._table = StateTable(name, connections, clock, error_type=TableFailed)

    def read(self, *keys: ItemKey) -> dict[ItemKey, Any]:
        return dict(self._run(self._table.read(keys)))

    def update(self, update: Update) -> UpdateResult:
        return self._run(self._table.update(update))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


@pytest.fixture
def endpoint(dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SESSION_TOKEN", "ENDPOINT_URL", "CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)


@pytest.fixture
def table(dynamodb: DynamoDb, clock: FakeClock, endpoint: None) -> Iterator[Table]:
    connections = Connections(clock)
    with asyncio.Runner() as runner:
        yield Table(runner, connections, clock, dynamodb.new_table())
        runner.run(connections.aclose())


@pytest.mark.parametrize("provider_id", ["migration", "deferred_writes", "key#1", "#"])
def test_no_provider_has_the_key_of_another_kind_of_item(provider_id: str) -> None:
    assert provider_key(provider_id).pk == f"provider#{provider_id}"
    assert provider_key(provider_id) not in {MIGRATION_LEASE, PENDING_WRITES}


def test_items_of_one_owner_are_distinguished_by_the_sort_key(table: Table) -> None:
    table.update(Update(KEY).set({"count": THREE}))
    table.update(Update(OTHER).set({"count": {"N": "4"}}))
    counts = {key: item["count"] for key, item in table.read(KEY, OTHER, ItemKey("owner", "third")).items()}
    assert counts == {KEY: THREE, OTHER: {"N": "4"}}


def test_no_keys_need_no_request(table: Table, dynamodb: DynamoDb) -> None:
    dynamodb.requests.clear()
    assert table.read() == {}
    assert dynamodb.requests == []


def test_an_update_returns_the_whole_item(table: Table) -> None:
    table.update(Update(KEY).set({"state": {"S": "open"}}))
    result = table.update(Update(KEY).add("count", 3))
    assert result == UpdateResult(is_written=True, item={**KEY.attributes, "state": {"S": "open"}, "count": THREE})


@pytest.mark.parametrize(
    "condition",
    [
        Update(KEY).require("count", ">", THREE),
        Update(KEY).require("missing", "=", THREE),
        Update(KEY).require_absent("count"),
        Update(KEY).require_present("missing"),
        Update(KEY).require_absent_or("count", "<", THREE),
        Update(KEY).require_present("count").require("count", "=", {"N": "4"}),
    ],
    ids=["comparison", "missing", "absent", "present", "absent or", "both"],
)
def test_an_update_whose_condition_is_not_met_returns_the_stored_item(table: Table, condition: Update) -> None:
    stored = table.update(Update(KEY).set({"count": THREE})).item
    assert table.update(condition.add("count", 1)) == UpdateResult(is_written=False, item=stored)
    assert table.read(KEY) == {KEY: stored}


def test_an_update_whose_condition_is_not_met_returns_no_attributes_if_there_is_no_item(table: Table) -> None:
    update = Update(KEY).require_present("count").add("count", 1)
    assert table.update(update) == UpdateResult(is_written=False, item={})
    assert table.read(KEY) == {}


def test_expire_at_sets_the_ttl_attribute_of_the_template(table: Table) -> None:
    item = table.update(Update(KEY).expire_at(datetime(2026, 1, 2, 3, 4, 5, 900_000, tzinfo=UTC))).item
    assert item[str(TTL_ATTRIBUTE)] == {"N": "1767323045"}


def test_removed_attributes_are_gone(table: Table) -> None:
    table.update(Update(KEY).set({"count": THREE, "state": {"S": "open"}}))
    assert table.update(Update(KEY).remove(["count", "state", "missing"])).item == KEY.attributes


def test_a_failure_raises_the_error_type_of_the_caller_without_the_services_text(
    clock: FakeClock, fake: FakeProvider, endpoint: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", fake.url)
    fake.always("/", Reply(400, {"__type": "x#ThrottlingException", "message": "secret"}))
    connections = Connections(clock)
    with asyncio.Runner() as runner:
        table = Table(runner, connections, clock, "table")
        with pytest.raises(TableFailed, match=r"^DynamoDB request failed \(ThrottlingException\)$"):
            table.read(KEY)
        with pytest.raises(TableFailed, match=r"^DynamoDB request failed \(ThrottlingException\)$"):
            table.update(Update(KEY).add("count", 1))
        runner.run(connections.aclose())
