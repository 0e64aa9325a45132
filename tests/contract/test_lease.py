"""The lease of the migration, on DynamoDB over HTTP."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.aws.state_table import MIGRATION_LEASE
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.migration.lease import (
    DynamoLease,
    LeaseHolder,
    LeaseUnavailable,
    NoLease,
)
from sekha_llm_bridge.resilience.dynamodb import DynamoProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.provider import FakeProvider, Reply

T = TypeVar("T")
TTL_S = 30.0


@pytest.fixture(autouse=True)
def _no_aws_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SESSION_TOKEN", "ENDPOINT_URL", "CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_REGION", REGION)


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@dataclass
class Fleet:
    """Processes that share one table."""

    runner: asyncio.Runner
    connections: Connections
    clock: FakeClock
    dynamodb: DynamoDb
    table: str

    def lease(self) -> DynamoLease:
        return DynamoLease(self.table, self.connections, self.clock, ttl_s=TTL_S)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def item(self) -> dict[str, Any]:
        return self.dynamodb.item(self.table, MIGRATION_LEASE)

    def writes(self) -> int:
        tables = [one.request["TableName"] for one in self.dynamodb.requests if one.action == "UpdateItem"]
        return tables.count(self.table)


@pytest.fixture
def fleet(dynamodb: DynamoDb, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    connections = Connections(clock)
    with asyncio.Runner() as runner:
        yield Fleet(runner, connections, clock, dynamodb, dynamodb.new_table())
        runner.run(connections.aclose())


def test_the_second_process_gets_the_holder_and_the_expiry_of_the_lease(fleet: Fleet) -> None:
    first, second = fleet.lease(), fleet.lease()
    assert fleet.run(first.acquire()) is None
    held = fleet.run(second.acquire())
    assert held == LeaseHolder(fleet.item["holder"]["S"], fleet.clock.now() + timedelta(seconds=TTL_S))
    assert re.fullmatch(r"[0-9a-f-]{36} holds the lease until 03:04:35 UTC", str(held))


def test_the_item_has_the_holder_and_the_expiry_under_a_key_that_no_provider_has(fleet: Fleet) -> None:
    fleet.run(fleet.lease().acquire())
    assert (fleet.item["pk"], fleet.item["sk"]) == ({"S": "migration"}, {"S": "lease"})
    assert fleet.item["lease_until"] == {"N": str(round(fleet.clock.now().timestamp() * 1000) + 30_000)}
    assert fleet.item.keys() == {"pk", "sk", "holder", "lease_until"}


def test_a_released_lease_can_be_acquired_by_another_process(fleet: Fleet) -> None:
    first, second = fleet.lease(), fleet.lease()
    fleet.run(first.acquire())
    fleet.run(first.release())
    assert fleet.run(second.acquire()) is None


def test_a_lease_that_is_not_renewed_ends_after_its_ttl(fleet: Fleet) -> None:
    dead, other = fleet.lease(), fleet.lease()
    fleet.run(dead.acquire())
    fleet.clock.advance(TTL_S - 0.001)
    assert fleet.run(other.acquire()) is not None
    fleet.clock.advance(0.001)
    assert fleet.run(other.acquire()) is None
    assert fleet.run(dead.renew()) is False


def test_a_renewed_lease_is_kept(fleet: Fleet) -> None:
    mine, other = fleet.lease(), fleet.lease()
    fleet.run(mine.acquire())
    for _ in range(5):
        fleet.clock.advance(TTL_S * 0.9)
        assert fleet.run(mine.renew())
    assert fleet.run(other.acquire()) is not None


def test_renew_writes_only_when_a_third_of_the_ttl_has_passed(fleet: Fleet) -> None:
    lease = fleet.lease()
    fleet.run(lease.acquire())
    for _ in range(30):
        fleet.clock.advance(1)
        assert fleet.run(lease.renew())
    assert fleet.writes() == 1 + 3


def test_an_expired_lease_can_be_renewed_if_no_other_process_acquired_it(fleet: Fleet) -> None:
    lease = fleet.lease()
    fleet.run(lease.acquire())
    fleet.clock.advance(TTL_S + 5)
    assert fleet.run(lease.renew())
    assert fleet.run(fleet.lease().acquire()) is not None


def test_release_does_not_end_the_lease_of_another_process(fleet: Fleet) -> None:
    late, other = fleet.lease(), fleet.lease()
    fleet.run(late.acquire())
    fleet.clock.advance(TTL_S)
    fleet.run(other.acquire())
    fleet.run(late.release())
    assert fleet.run(fleet.lease().acquire()) is not None


def test_one_of_twenty_simultaneous_acquires_succeeds(fleet: Fleet) -> None:
    async def all_at_once() -> list[LeaseHolder | None]:
        return list(await asyncio.gather(*(fleet.lease().acquire() for _ in range(20))))

    assert fleet.run(all_at_once()).count(None) == 1


def test_the_provider_store_does_not_read_the_lease(fleet: Fleet) -> None:
    fleet.run(fleet.lease().acquire())
    store = DynamoProviderStore(fleet.table, fleet.connections, fleet.clock)
    assert fleet.run(store.read(["p", "migration"])) == {}


TROUBLE = {
    "throttled": Reply(400, {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "secret"}),
    "failing": Reply(500, {"message": "secret"}),
    "no table": Reply(400, {"__type": "x#ResourceNotFoundException", "message": "secret"}),
    "a broken connection": Reply(reset=True),
}


@pytest.mark.parametrize("reply", TROUBLE.values(), ids=TROUBLE)
def test_a_failing_table_raises_lease_unavailable_without_its_text(
    reply: Reply, fake: FakeProvider, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", fake.url)
    fake.always("/", reply)
    with pytest.raises(LeaseUnavailable, match=r"^DynamoDB request failed \(\w+\)$"):
        fleet.run(fleet.lease().acquire())


@pytest.fixture
def failing_table(fleet: Fleet, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Callable[[], DynamoLease]:
    """Acquires leases on a table that fails after each acquire."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", fake.url)
    fake.script("/", Reply(body={"Attributes": {}}))
    fake.always("/", TROUBLE["failing"])

    def acquired() -> DynamoLease:
        lease = fleet.lease()
        assert fleet.run(lease.acquire()) is None
        return lease

    return acquired


def test_a_lease_is_kept_until_its_ttl_is_over_while_the_table_does_not_answer(
    fleet: Fleet, failing_table: Callable[[], DynamoLease]
) -> None:
    lease = failing_table()
    fleet.clock.advance(TTL_S - 1)
    assert fleet.run(lease.renew())
    fleet.clock.advance(1)
    assert fleet.run(lease.renew()) is False


def test_release_does_not_raise_if_the_table_does_not_answer(
    fleet: Fleet, failing_table: Callable[[], DynamoLease]
) -> None:
    fleet.run(failing_table().release())


def test_without_a_table_the_lease_is_always_acquired_and_kept() -> None:
    with asyncio.Runner() as runner:
        lease = NoLease()
        assert runner.run(lease.acquire()) is None
        assert runner.run(lease.renew())
        runner.run(lease.release())
