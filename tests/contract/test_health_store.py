"""One suite for both stores of provider records: in memory, and on DynamoDB over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sekha_llm_bridge.resilience import BreakerState, CheckResult, HealthStore
from sekha_llm_bridge.resilience.dynamodb import DynamoHealthStore
from sekha_llm_bridge.resilience.memory import MemoryHealthStore
from sekha_llm_bridge.resilience.records import StoreUnavailable

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@pytest.fixture(scope="module")
def dynamodb_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> HealthStore:
    if request.param == "memory":
        return MemoryHealthStore()
    url = request.getfixturevalue("dynamodb_url")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
    client = boto3.client("dynamodb")
    table = f"breakers-{len(client.list_tables()['TableNames'])}"
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "provider_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "provider_id", "AttributeType": "S"}],
    )
    return DynamoHealthStore(table)


def check(provider_id: str, **fields: object) -> CheckResult:
    return CheckResult(**{"provider_id": provider_id, "healthy": True, "latency_ms": 12, "checked_at": AT, **fields})  # type: ignore[arg-type]  # fields vary by test


def test_an_unchecked_provider_has_no_record(store: HealthStore) -> None:
    assert store.read(["p"]) == {}


def test_a_check_is_read_back_as_it_was_recorded(store: HealthStore) -> None:
    store.record_check(check("p"))
    assert store.read(["p"])["p"].check == check("p")


def test_a_failed_check_keeps_its_error_and_has_no_latency(store: HealthStore) -> None:
    failed = check("p", healthy=False, latency_ms=None, error="timeout")
    store.record_check(failed)
    assert store.read(["p"])["p"].check == failed


def test_the_last_check_wins(store: HealthStore) -> None:
    store.record_check(check("p", latency_ms=1))
    store.record_check(check("p", latency_ms=2))
    found = store.read(["p"])["p"].check
    assert found is not None
    assert found.latency_ms == 2


def test_a_new_record_has_a_closed_breaker(store: HealthStore) -> None:
    store.record_check(check("p"))
    breaker = store.read(["p"])["p"].breaker
    assert (breaker.state, breaker.failure_count, breaker.last_failure) == (BreakerState.CLOSED, 0, None)


def test_three_hundred_providers_are_read_at_once(store: HealthStore) -> None:
    names = [f"p{i}" for i in range(300)]
    for name in names:
        store.record_check(check(name))
    assert set(store.read([*names, "ghost", "p0"])) == set(names)


def test_a_table_that_is_not_there_is_an_unavailable_store(dynamodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_url)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        DynamoHealthStore("ghost").read(["p"])


def test_a_dynamodb_that_does_not_answer_is_an_unavailable_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable):
        DynamoHealthStore("any").record_check(check("p"))
