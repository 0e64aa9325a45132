"""`sekha-bridge usage`, run as a user types it, on DynamoDB over HTTP."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from local_stack.stack_file import StackFile
from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel
from sekha_llm_bridge.access.usage_records.log_batch import LogBatch, UsageKey
from sekha_llm_bridge.access.usage_records.store import UsageStore
from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.connections import Connections
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.provider import FakeProvider, Reply

PERIOD = ("--from", "2026-11-27", "--to", "2026-11-28")
USED = {
    UsageKey("2026-11-28", "key_a", UsedModel("openai", "big")): Amounts(1200, 34_000, 500, 6_000, 10**12, 12 * 10**11),
    UsageKey("2026-11-28", "", UsedModel("local", "llama")): Amounts(3, 10, 0, 5, unpriced_attempts=2),
    UsageKey("2026-11-27", "key_a", UsedModel("=cmd()", "m")): Amounts(1, 1, 0, 1, 1, 1),
}


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture
def table(dynamodb: DynamoDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A table with usage, which a running local stack names."""
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    name, clock = dynamodb.new_table(), SystemClock()

    async def fill() -> None:
        connections = Connections(clock)
        await UsageStore(name, connections, clock).add(LogBatch("1", USED))
        await connections.aclose()

    asyncio.run(fill())
    keys = dynamodb.new_table("KeysTable")
    dynamodb.client.put_item(TableName=keys, Item={"id": {"S": "key_a"}, "name": {"S": "search"}})
    variables = {
        "KEYS_TABLE": keys,
        "STATE_TABLE": name,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url,
    }
    file = StackFile(tmp_path / "stacks")
    file.write(url="http://127.0.0.1:8000", chroma_url=None, state=tmp_path, variables=variables)
    monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(tmp_path / "stacks"))
    yield name
    file.remove()


def usage(*arguments: str, **environ: str) -> Any:
    return CliRunner(env={"COLUMNS": "160", **environ}).invoke(app, ["usage", *arguments])


def test_the_operators_table_has_all_keys_and_the_total(table: str) -> None:
    result = usage("--by", "key", *PERIOD)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert (result.exit_code, lines[0]) == (0, ["used", "from", "2026-11-27", "to", "2026-11-28", "(UTC)"])
    assert ["key_a", "search", "1,201", "34,001", "500", "6,001", "1.000000000001"] in lines
    assert ["(no", "key)", "3", "10", "0", "5", "0"] in lines
    assert ["total", "1,204", "34,011", "500", "6,006", "1.000000000001"] in lines
    assert "interrupted requests may have cost up to $0.2 more" in result.stdout
    assert "2 calls of models without a known price" in result.stdout


def test_json_has_the_form_of_the_api(table: str) -> None:
    document = json.loads(usage("--by", "day", "--json", *PERIOD).stdout)
    assert [(row["day"], row["requests"]) for row in document["data"]] == [("2026-11-27", 1), ("2026-11-28", 1203)]
    assert (document["by"], document["key_id"], document["total"]["max_cost"]) == ("day", None, 1.200000000001)


def test_csv_has_a_row_for_each_sum_and_no_cell_that_a_spreadsheet_would_run(table: str) -> None:
    rows = list(csv.DictReader(io.StringIO(usage("--by", "model", "--csv", *PERIOD).stdout)))
    assert [row["model"] for row in rows] == ["openai/big", "'=cmd()/m", "local/llama"]
    assert [row["cost"] for row in rows] == ["1.0", "0.000000000001", "0.0"]
    assert [row["requests"] for row in rows] == ["1200", "1", "3"]


def test_keys_have_their_names_in_json_and_csv(table: str) -> None:
    document = json.loads(usage("--by", "key", "--json", *PERIOD).stdout)
    assert [(row["key"], row["name"]) for row in document["data"]] == [("key_a", "search"), (None, None)]
    rows = list(csv.DictReader(io.StringIO(usage("--by", "key", "--csv", *PERIOD).stdout)))
    assert [(row["key"], row["name"]) for row in rows] == [("key_a", "search"), ("", "")]


def test_nothing_used_is_no_error(table: str) -> None:
    result = usage("--from", "2026-01-01", "--to", "2026-01-02")
    assert (result.exit_code, "nothing" in result.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--from", "yesterday"), "--from must be a day"),
        (("--to", "2026-13-01"), "--to must be a day"),
        (("--from", "2026-02-02", "--to", "2026-02-01"), "--from must not be after to"),
        (("--json", "--csv"), "exclude each other"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(arguments: tuple[str, ...], problem: str) -> None:
    result = usage(*arguments)
    assert (result.exit_code, problem in result.stderr, result.stdout) == (2, True, "")


def test_without_a_running_stack_it_says_what_to_do() -> None:
    result = usage()
    assert (result.exit_code, "--stack" in result.stderr) == (2, True)


def test_a_table_that_does_not_exist_is_reported(table: str, dynamodb: DynamoDb) -> None:
    dynamodb.client.delete_table(TableName=table)
    result = usage()
    assert (result.exit_code, "ResourceNotFoundException" in result.stderr) == (3, True)


def test_with_a_key_it_asks_the_bridge(fake: FakeProvider) -> None:
    amounts = Amounts(requests=1)._asdict()
    del amounts["cost_pico_usd"], amounts["max_cost_pico_usd"]
    row = {**amounts, "cost": 0.25, "max_cost": 0.25}
    path = "/api/v1/usage?from=2026-11-27&to=2026-11-28&by=key"
    document = {"from": "2026-11-27", "to": "2026-11-28", "by": "key", "key_id": "key_a"}
    fake.always(path, Reply(200, {**document, "data": [{"key": "key_a", **row}], "total": row}))
    result = usage("--by", "key", *PERIOD, "--url", fake.url, SEKHA_BRIDGE_API_KEY="sk-sekha-x")
    assert (result.exit_code, "by the API key key_a" in result.stdout) == (0, True), result.output
    assert [call.headers["authorization"] for call in fake.calls(path)] == ["Bearer sk-sekha-x"]


def test_a_key_that_the_bridge_does_not_accept_is_reported(fake: FakeProvider) -> None:
    error = {"message": "no", "type": "authentication_error", "param": None, "code": "invalid_api_key"}
    fake.always("/api/v1/usage?from=2026-11-27&to=2026-11-28&by=day", Reply(401, {"error": error}))
    assert usage(*PERIOD, "--url", fake.url).exit_code == 3
