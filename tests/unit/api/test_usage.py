"""`GET /api/v1/usage`, on DynamoDB over HTTP."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from sekha_llm_bridge.access.caller import CONTEXT_FIELD, Caller
from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel
from sekha_llm_bridge.access.usage_records.log_batch import LogBatch, UsageKey
from sekha_llm_bridge.access.usage_records.store import UsageStore
from sekha_llm_bridge.access.usage_records.sums import period_of
from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.connections import Connections
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.functions import FakeContext, Function, FunctionResponse, rest_event
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider

PATH = "/api/v1/usage"
TODAY = datetime.now(UTC).date()
BIG, SMALL = UsedModel("openai", "big"), UsedModel("openai", "small")


def amounts(cost_pico_usd: int) -> Amounts:
    return Amounts(1, 10, 4, 5, cost_pico_usd, cost_pico_usd)


USED = {
    UsageKey(TODAY.isoformat(), "key_a", BIG): amounts(3_000_000),
    UsageKey(TODAY.isoformat(), "key_b", SMALL): amounts(1_000_000),
    UsageKey((TODAY - timedelta(days=1)).isoformat(), "key_a", SMALL): amounts(500_000),
    UsageKey((TODAY - timedelta(days=40)).isoformat(), "key_a", SMALL): amounts(250_000),
}


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture(scope="module")
def table(dynamodb: DynamoDb) -> str:
    name, clock = dynamodb.new_table(), SystemClock()

    async def fill() -> None:
        connections = Connections(clock)
        await UsageStore(name, connections, clock).add(LogBatch("1", USED))
        await connections.aclose()

    with pytest.MonkeyPatch.context() as patched:
        use(patched, dynamodb)
        asyncio.run(fill())
    return name


def function(table: str) -> Function:
    return Function("usage", make_bridge(make_settings(provider("p", chat_model())), table=table))


@pytest.fixture(scope="module")
def made(table: str, dynamodb: DynamoDb) -> Function:
    with pytest.MonkeyPatch.context() as patched:
        use(patched, dynamodb)
        return function(table)


@pytest.fixture
def usage(made: Function, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch) -> Function:
    use(monkeypatch, dynamodb)
    return made


def use(patched: pytest.MonkeyPatch, dynamodb: DynamoDb) -> None:
    """Lets the bridge use this server instead of AWS."""
    values = {"AWS_REGION": REGION, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url}
    for name, value in {**values, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}.items():
        patched.setenv(name, value)


def ask(usage: Function, **parameters: str) -> FunctionResponse:
    return call(usage, parameters)


def call(usage: Function, parameters: dict[str, str], caller: Caller | None = None) -> FunctionResponse:
    event = rest_event("GET", PATH, None, {})
    event["queryStringParameters"] = parameters
    event["multiValueQueryStringParameters"] = {name: [value] for name, value in parameters.items()}
    if caller:
        event["requestContext"]["authorizer"] = {CONTEXT_FIELD: caller.context_text()}
    answer = usage._module.handler(event, FakeContext(29_000))
    return FunctionResponse(answer["statusCode"], {}, answer["body"])


def test_without_keys_it_sums_up_all_requests_of_the_last_thirty_days(usage: Function) -> None:
    answer = ask(usage).json()
    assert (answer["from"], answer["to"]) == ((TODAY - timedelta(days=29)).isoformat(), TODAY.isoformat())
    assert (answer["by"], answer["key_id"]) == ("day", None)
    assert [(row["day"], row["requests"], row["cost"]) for row in answer["data"]] == [
        ((TODAY - timedelta(days=1)).isoformat(), 1, 5e-7),
        (TODAY.isoformat(), 2, 4e-6),
    ]
    assert answer["total"] == {
        "requests": 3,
        "input_tokens": 30,
        "cached_input_tokens": 12,
        "output_tokens": 15,
        "cost": 4.5e-6,
        "max_cost": 4.5e-6,
        "unpriced_attempts": 0,
    }


def test_models_and_keys_are_in_the_order_of_their_cost(usage: Function) -> None:
    models, keys = ask(usage, by="model").json()["data"], ask(usage, by="key").json()["data"]
    assert [row["model"] for row in models] == ["openai/big", "openai/small"]
    assert [row["key"] for row in keys] == ["key_a", "key_b"]


def test_a_longer_period_has_earlier_days(usage: Function) -> None:
    answer = ask(usage, **{"from": (TODAY - timedelta(days=40)).isoformat()}).json()
    assert answer["total"]["requests"] == 4


@pytest.mark.parametrize(("key_id", "requests"), [("key_a", 2), ("key_b", 1), ("key_", 0), ("key_c", 0)])
def test_a_key_sees_its_own_usage_only(
    usage: Function, monkeypatch: pytest.MonkeyPatch, key_id: str, requests: int
) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    answer = call(usage, {"by": "key"}, Caller(key_id)).json()
    assert (answer["key_id"], answer["total"]["requests"]) == (key_id, requests)
    assert {row["key"] for row in answer["data"]} <= {key_id}


def test_where_keys_are_needed_nothing_is_shown_without_one(usage: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    assert ask(usage).status == 401


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"by": "hour"}, "by"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ({"from": "2020-01-01"}, "from"),
        ({"form": "2026-02-02"}, "form"),
        ({"to": "20260228"}, "to"),
        ({"from": "2026-W05"}, "from"),
        ({"to": "0001-01-02"}, "to"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_a_400_that_names_it(
    usage: Function, parameters: dict[str, str], param: str
) -> None:
    answer = ask(usage, **parameters)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (400, "invalid_request", param)


def test_a_table_that_does_not_answer_is_a_503_with_the_time_of_a_retry(
    usage: Function, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", fake.url)
    fake.always("/", Reply(500, {"__type": "x#InternalServerError", "message": "secret"}))
    answer = usage("GET", PATH)
    assert (answer.status, answer.json()["error"]["code"]) == (503, "access_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text


def test_a_bridge_without_a_table_says_that_nothing_is_counted() -> None:
    answer = function("")("GET", PATH)
    assert (answer.status, "not counted" in answer.json()["error"]["message"]) == (503, True)


def test_a_period_has_at_most_as_many_days_as_usage_is_kept() -> None:
    today = date(2026, 11, 28)
    assert period_of("2025-10-26", None, today=today).first == date(2025, 10, 26)
    with pytest.raises(ValueError, match="400 days"):
        period_of("2025-10-24", None, today=today)
