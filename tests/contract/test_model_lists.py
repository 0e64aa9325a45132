"""One suite for both stores of lists of models, in memory and in DynamoDB. Tests of DynamoDB alone follow."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from io import StringIO
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.aws.state_table import model_list_key, provider_key
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.model_lists import (
    MAX_MODELS,
    ListsUnavailable,
    MemoryModelListStore,
    ModelList,
    ModelLists,
    ModelListStore,
)
from sekha_llm_bridge.model_lists.dynamodb import DynamoModelListStore
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, TTL_ATTRIBUTE, DynamoDb

T = TypeVar("T")
LLAMA = FoundModel(
    name="llama3.1:8b",
    digest="46e0",
    size_bytes=4_920_753_328,
    modified_at="2025-08-14T15:49:43.634137516-07:00",
    family="llama",
    parameter_size="8.0B",
    parameter_count=8_030_261_248,
    quantization="Q4_K_M",
    context_length=131_072,
    num_ctx=4096,
    embedding_length=4096,
    capabilities=("completion", "tools"),
)
OLD = FoundModel(name="ä:latest", capabilities=("embedding",), are_capabilities_reported=False)
REMOTE = FoundModel(name="x:cloud", remote_host="https://ollama.com:443")


class Stores:
    """Makes stores of the same lists, as every function instance has its own."""

    def __init__(self, runner: asyncio.Runner, new: Callable[[], ModelListStore]) -> None:
        self.runner, self.new = runner, new

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(work, 30))

    def read(self, *provider_ids: str) -> Mapping[str, ModelList]:
        return self.run(self.new().read(provider_ids))

    def replace(self, before: ModelList | None, models: Sequence[FoundModel], provider_id: str = "p") -> bool:
        return self.run(self.new().replace(provider_id, before, models))


class Table(Stores):
    """Lists in a DynamoDB table."""

    def __init__(self, runner: asyncio.Runner, dynamodb: DynamoDb, clock: FakeClock) -> None:
        self.dynamodb, self.name, self.clock = dynamodb, dynamodb.new_table(), clock
        self.connections = Connections(clock)
        super().__init__(runner, lambda: DynamoModelListStore(self.name, self.connections, clock))

    def item(self) -> dict[str, Any]:
        return self.dynamodb.item(self.name, model_list_key("p"))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture
def table(
    runner: asyncio.Runner, dynamodb: DynamoDb, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Table]:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    made = Table(runner, dynamodb, clock)
    yield made
    runner.run(made.connections.aclose())


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest, runner: asyncio.Runner, clock: FakeClock) -> Stores:
    if request.param == "dynamodb":
        found: Stores = request.getfixturevalue("table")
        return found
    only = MemoryModelListStore(clock)
    return Stores(runner, lambda: only)


def test_a_provider_without_a_list_is_missing(stores: Stores) -> None:
    assert stores.read("p") == {}
    assert stores.read() == {}


@pytest.mark.parametrize("models", [(), (LLAMA,), (LLAMA, OLD, REMOTE)])
def test_a_list_is_read_back_as_it_was_written(
    stores: Stores, clock: FakeClock, models: tuple[FoundModel, ...]
) -> None:
    assert stores.replace(None, models)
    assert stores.read("p", "q") == {"p": ModelList(models, 1, clock.now())}


def test_a_list_is_replaced_only_by_who_has_read_it(stores: Stores, clock: FakeClock) -> None:
    assert stores.replace(None, [LLAMA])
    assert not stores.replace(None, [OLD])
    first = stores.read("p")["p"]
    clock.advance(1)
    assert stores.replace(first, [OLD])
    assert not stores.replace(first, [LLAMA])
    assert stores.read("p")["p"] == ModelList((OLD,), 2, clock.now())


def test_each_provider_has_a_list_of_its_own(stores: Stores) -> None:
    assert stores.replace(None, [LLAMA], "p")
    assert stores.replace(None, [OLD], "q")
    assert {name: one.models for name, one in stores.read("p", "q").items()} == {"p": (LLAMA,), "q": (OLD,)}


# --- DynamoDB alone


def test_of_many_checks_at_the_same_time_one_writes(table: Table) -> None:
    async def race() -> list[bool]:
        return await asyncio.gather(*(table.new().replace("p", None, [LLAMA]) for _ in range(20)))

    assert sorted(table.run(race())) == [False] * 19 + [True]


def test_the_item_is_beside_the_providers_state_and_expires_after_two_weeks(table: Table, clock: FakeClock) -> None:
    table.replace(None, [LLAMA])
    item = table.item()
    assert item["pk"]["S"] == provider_key("p").attributes["pk"]["S"]
    assert datetime.fromtimestamp(int(item[TTL_ATTRIBUTE or ""]["N"]), clock.now().tzinfo) == clock.now() + timedelta(
        days=14
    )
    assert json.loads(item["models"]["S"])[0]["capabilities"] == ["completion", "tools"]


def test_the_longest_list_fits_into_an_item(table: Table) -> None:
    models = [LLAMA._replace(name=f"{number:05}" + "x" * 100, digest="d" * 64) for number in range(MAX_MODELS)]
    assert table.replace(None, models)
    assert table.read("p")["p"].models == tuple(models)
    assert len(json.dumps(table.item())) < 400_000


def test_a_list_of_another_version_with_more_and_fewer_fields_is_read(table: Table) -> None:
    table.replace(None, [LLAMA])
    text = json.dumps([{"name": "new:1b", "colour": "blue"}])
    table.dynamodb.set_attributes(table.name, model_list_key("p"), models={"S": text}, owner={"S": "x"})
    assert table.read("p")["p"].models == (FoundModel("new:1b"),)


@pytest.mark.parametrize("damage", [{"models": {"S": "{"}}, {"models": {"N": "1"}}, {"written_at": {"S": "then"}}])
def test_an_unreadable_list_is_empty_and_is_written_anew_by_the_next_check(
    table: Table, log: StringIO, damage: dict[str, Any]
) -> None:
    table.replace(None, [LLAMA])
    table.dynamodb.set_attributes(table.name, model_list_key("p"), **damage)
    damaged = table.read("p")["p"]
    assert damaged.models == ()
    assert "unreadable list of models" in log.getvalue()
    assert table.replace(damaged, [LLAMA])
    assert table.read("p")["p"].models == (LLAMA,)


def test_a_table_that_cannot_be_reached_is_one_kind_of_error(
    table: Table, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    away = DynamoModelListStore(table.name, table.connections, clock)
    with pytest.raises(ListsUnavailable, match="ConnectError"):
        table.run(away.read(["p"]))
    with pytest.raises(ListsUnavailable, match="ConnectError"):
        table.run(away.replace("p", None, [LLAMA]))


def test_an_instance_sends_one_request_a_minute_for_all_its_lists(table: Table, clock: FakeClock) -> None:
    table.replace(None, [LLAMA], "p")
    table.replace(None, [OLD], "q")
    lists = ModelLists(table.new(), ["p", "q"], clock)
    before = len(table.dynamodb.requests)
    for _ in range(4):
        table.run(lists.refresh())
        clock.advance(20)
    asked = [one.action for one in table.dynamodb.requests[before:]]
    assert asked == ["BatchGetItem", "BatchGetItem"]
    assert lists.current == {"p": (LLAMA,), "q": (OLD,)}
