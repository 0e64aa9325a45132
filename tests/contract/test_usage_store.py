"""What was used, counted in DynamoDB over HTTP: every batch of log lines once, and every amount to the last digit."""

import asyncio
import base64
import gzip
import json
from collections.abc import Coroutine, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel, pico_usd
from sekha_llm_bridge.access.usage_records.log_batch import LogBatch, UsageKey, read_batch
from sekha_llm_bridge.access.usage_records.store import KEPT_DAYS, UsageRecord, UsageStore, UsageUnavailable
from sekha_llm_bridge.aws.state_table import MAX_UPDATES_ONCE, usage_batch_key, usage_key
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.jobs.usage_records import add, log_handler
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, TTL_ATTRIBUTE, DynamoDb
from tests.fakes.functions import FakeContext
from tests.fakes.provider import FakeProvider, Reply

T = TypeVar("T")
DAY = date(2026, 11, 28)
NOON_MS = int(datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp() * 1000)
MINI = UsedModel("openai", "gpt-mini")
SMALL = Amounts(
    requests=1, input_tokens=100, cached_input_tokens=40, output_tokens=7, cost_pico_usd=pico_usd(Decimal("0.0000001"))
)


def line(*, key_id: str = "", used: Any = None, **fields: Any) -> str:
    one = [{**MINI._asdict(), **SMALL._asdict()}] if used is None else used
    return json.dumps({"message": "request", "key_id": key_id, "used": one, "attempt_count": 1, **fields})


def event(*lines: str, at_ms: int = NOON_MS, kind: str = "DATA_MESSAGE", first_id: int = 0) -> dict[str, Any]:
    events = [
        {"id": f"{first_id + number:056}", "timestamp": at_ms, "message": text} for number, text in enumerate(lines)
    ]
    delivered = {"messageType": kind, "owner": "1", "logGroup": "g", "logStream": "s", "logEvents": events}
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(delivered).encode())).decode()}}


def batch(*lines: str, at_ms: int = NOON_MS, first_id: int = 0) -> LogBatch:
    read = read_batch(event(*lines, at_ms=at_ms, first_id=first_id))
    assert read is not None
    return read


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


class Usage:
    """A store on a new table, and an event loop for its requests."""

    def __init__(self, runner: asyncio.Runner, connections: Connections, clock: FakeClock, table: str) -> None:
        self.table = table
        self.store = UsageStore(table, connections, clock)
        self._runner = runner

    def add(self, added: LogBatch) -> bool:
        return self.run(self.store.add(added))

    def read(self, first: date = DAY, last: date = DAY, key_id: str | None = None) -> list[UsageRecord]:
        return self.run(self.store.read(first, last, key_id=key_id))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


@pytest.fixture
def usage(dynamodb: DynamoDb, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Usage]:
    for name in ("SESSION_TOKEN", "ENDPOINT_URL", "CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    connections = Connections(clock)
    with asyncio.Runner() as runner:
        yield Usage(runner, connections, clock, dynamodb.new_table())
        runner.run(connections.aclose())


def test_amounts_of_one_day_key_and_model_are_added_up(usage: Usage) -> None:
    usage.add(batch(line(key_id="key_a"), line(key_id="key_a"), line(key_id="key_b")))
    usage.add(batch(line(key_id="key_a"), first_id=10))
    assert usage.read() == [
        UsageRecord(UsageKey("2026-11-28", "key_a", MINI), SMALL.plus(SMALL).plus(SMALL)),
        UsageRecord(UsageKey("2026-11-28", "key_b", MINI), SMALL),
    ]


def test_a_batch_that_is_delivered_twice_counts_once(usage: Usage) -> None:
    assert [usage.add(batch(line(), line())) for _ in range(3)] == [True, False, False]
    assert [record.amounts for record in usage.read()] == [SMALL.plus(SMALL)]


def test_a_batch_that_is_delivered_to_eight_instances_at_once_counts_once(usage: Usage, clock: FakeClock) -> None:
    async def deliver() -> list[bool]:
        added = batch(line(), line())
        return await asyncio.gather(*(add(added, usage.store, clock, remaining_s=30.0) for _ in range(8)))

    assert sorted(usage.run(deliver())) == [False] * 7 + [True]
    assert [record.amounts for record in usage.read()] == [SMALL.plus(SMALL)]


def test_the_function_counts_the_same_event_once(usage: Usage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_TABLE", usage.table)
    handler = log_handler()
    same, context = event(line(key_id="key_a")), FakeContext(30_000)
    assert [handler(same, context) for _ in range(2)] == [{"is_new": True}, {"is_new": False}]
    assert handler(event(line(), kind="CONTROL_MESSAGE"), context) == {"is_new": False}
    assert [record.amounts for record in usage.read()] == [SMALL]


def test_other_lines_with_the_same_amounts_count(usage: Usage) -> None:
    assert [usage.add(batch(line(), first_id=number)) for number in range(2)] == [True, True]
    assert [record.amounts.requests for record in usage.read()] == [2]


def test_a_batch_with_more_models_than_a_transaction_takes_is_counted_whole_and_once(usage: Usage) -> None:
    models = [UsedModel("p", f"model-{number}") for number in range(2 * MAX_UPDATES_ONCE + 5)]
    added = batch(*(line(used=[{**model._asdict(), **SMALL._asdict()}]) for model in models))
    assert [usage.add(added) for _ in range(2)] == [True, False]
    assert {record.key.model for record in usage.read()} == set(models)
    assert all(record.amounts == SMALL for record in usage.read())


def test_a_batch_of_which_a_part_was_written_before_a_failure_is_completed(usage: Usage, dynamodb: DynamoDb) -> None:
    models = [UsedModel("p", f"model-{number:03}") for number in range(MAX_UPDATES_ONCE + 20)]
    added = batch(*(line(used=[{**model._asdict(), **SMALL._asdict()}]) for model in models))
    first_part = dict(sorted(added.used.items())[:MAX_UPDATES_ONCE])
    usage.add(LogBatch(added.id, first_part))
    assert usage.add(added)
    assert [record.amounts for record in usage.read()] == [SMALL] * (MAX_UPDATES_ONCE + 20)


def test_one_key_reads_only_its_own(usage: Usage) -> None:
    usage.add(batch(line(key_id="key_a"), line(key_id="key_ab"), line()))
    assert [record.key.key_id for record in usage.read(key_id="key_a")] == ["key_a"]
    assert [record.key.key_id for record in usage.read(key_id="key_")] == []
    assert [record.key.key_id for record in usage.read()] == ["", "key_a", "key_ab"]


def test_a_line_counts_for_its_day_in_utc(usage: Usage) -> None:
    midnight = int(datetime(2026, 11, 29, tzinfo=UTC).timestamp() * 1000)
    usage.add(batch(line(), at_ms=midnight - 1))
    usage.add(batch(line(), at_ms=midnight, first_id=1))
    assert [record.key.day for record in usage.read(last=DAY + timedelta(days=1))] == ["2026-11-28", "2026-11-29"]


def test_usage_and_the_markers_of_batches_expire(usage: Usage, dynamodb: DynamoDb, clock: FakeClock) -> None:
    added = batch(line(key_id="key_a"))
    usage.add(added)
    expiry = str(TTL_ATTRIBUTE)
    item = dynamodb.item(usage.table, usage_key("2026-11-28", "key_a", *MINI))
    day = datetime(2026, 11, 28, tzinfo=UTC)
    assert int(item[expiry]["N"]) == (day + timedelta(days=KEPT_DAYS)).timestamp()
    marker = dynamodb.item(usage.table, usage_batch_key(f"{added.id}.0"))
    assert int(marker[expiry]["N"]) == int((clock.now() + timedelta(days=7)).timestamp())


def test_amounts_above_64_bits_are_exact(usage: Usage) -> None:
    large = Amounts(cost_pico_usd=2**62)
    for number in range(9):
        usage.add(batch(line(used=[{**MINI._asdict(), **large._asdict()}]), first_id=number))
    assert usage.read()[0].amounts.cost_pico_usd == 9 * 2**62


@pytest.mark.parametrize(
    "text",
    [
        "START RequestId: 1 Version: 2",
        "[]",
        '"request"',
        json.dumps({"message": "health check"}),
        json.dumps({"message": "request"}),
        line(used=[{"provider_id": "p"}]),
        line(used=[{**MINI._asdict(), "input_tokens": -5}]),
        line(used=[{**MINI._asdict(), "input_tokens": 1.5}]),
        line(used=[{**MINI._asdict(), "input_tokens": True}]),
        line(used="x"),
    ],
)
def test_a_line_of_another_form_is_left_out_and_does_not_stop_the_others(text: str) -> None:
    assert list(batch(text, line()).used.values()) == [SMALL]


def test_a_test_message_of_cloudwatch_logs_is_no_batch() -> None:
    assert read_batch(event(line(), kind="CONTROL_MESSAGE")) is None


@pytest.mark.parametrize(
    "wrong", [{}, {"awslogs": {}}, {"awslogs": {"data": "AAAA"}}, {"awslogs": {"data": "H4sIAA=="}}]
)
def test_an_event_of_another_form_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a batch"):
        read_batch(wrong)


def test_what_the_table_refuses_is_repeated_and_still_counts_once(
    usage: Usage, clock: FakeClock, fake: FakeProvider, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.always(
        "/", Reply(400, {"__type": "x#TransactionCanceledException", "CancellationReasons": [{"Code": "None"}]})
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", fake.url)
    refused = UsageStore(usage.table, Connections(clock), clock)
    with pytest.raises(UsageUnavailable, match="TransactionCanceledException"):
        usage.run(add(batch(line()), refused, clock, remaining_s=10.0))
    assert len(fake.calls("/")) > 3
    assert usage.add(batch(line()))
