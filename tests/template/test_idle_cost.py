"""What a deployment costs in a month without a request, by the template as CloudFormation deploys it."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

import idle_cost_table
from idle_cost import GAUGES, METRIC_USD, RUNS, UnknownPrice, idle_lines, total
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.jobs import drain, health_check, migrate
from sekha_llm_bridge.jobs.handler import Invocation, Job
from tests.fakes.chroma import ChromaProcess
from tests.fakes.dynamodb import REGION, DynamoDb, RecordedRequest
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider
from tests.template.deployed import Deployed

Deploy = Callable[..., Deployed]
SNAPSHOT_USD_OF_1_GB = Decimal("3.9541")  # 0.0000015046 × 730 × 3600
WITH_TOPIC = idle_cost_table.CHOICES["with alarms (`AlertTopicArn`)"]
USD = Decimal("0.01")


def cost(deployed: Deployed, *, versions: int = 1) -> Decimal:
    return total(idle_lines(deployed.resources, versions=versions))


def snapshots(deployed: Deployed, *, versions: int = 1) -> Decimal:
    lines = idle_lines(deployed.resources, versions=versions)
    return sum((line.usd for line in lines if "snapshots" in line.what), Decimal(0))


def with_snapshots(deployed: Deployed) -> set[str]:
    functions = deployed.of_type("AWS::Lambda::Function").items()
    return {name for name, one in functions if one["SnapStart"]["ApplyOn"] == "PublishedVersions"}


def test_the_default_costs_less_than_a_dollar_a_month(deployed: Deploy) -> None:
    lines = idle_lines(deployed().resources)
    assert total(lines) < 1, idle_cost_table.bill_table(lines)


def test_the_default_has_no_snapshots_no_alarms_and_no_metrics_of_the_check(deployed: Deploy) -> None:
    whats = {line.what for line in idle_lines(deployed().resources)}
    assert not with_snapshots(deployed())
    assert not [one for one in whats if "snapshot" in one or "alarm" in one or "metric" in one]


def test_chat_has_one_snapshot_of_half_a_gigabyte(deployed: Deploy) -> None:
    found = deployed({"SnapStart": "chat"})
    assert with_snapshots(found) == {"ChatCompletionsFunction"}
    assert snapshots(found).quantize(USD) == (SNAPSHOT_USD_OF_1_GB / 2).quantize(USD)


def test_all_has_a_snapshot_for_every_function_of_the_api_and_for_no_other(deployed: Deploy) -> None:
    found = deployed({"SnapStart": "all"})
    others = {"HealthCheckFunction", "DrainFunction", "MigrateCollectionsFunction", "UsageRecordsFunction"}
    assert with_snapshots(found) == found.of_type("AWS::Lambda::Function").keys() - others
    memory_mb = sum(found.of_type("AWS::Lambda::Function")[name]["MemorySize"] for name in with_snapshots(found))
    assert snapshots(found).quantize(USD) == (SNAPSHOT_USD_OF_1_GB * memory_mb / 1024).quantize(USD)


def test_each_version_that_is_kept_costs_its_snapshot_again(deployed: Deploy) -> None:
    found = deployed({"SnapStart": "all"})
    assert snapshots(found, versions=3) == 3 * snapshots(found)
    assert cost(deployed(), versions=3) == cost(deployed())


def test_a_topic_costs_its_alarms_and_the_gauges_that_they_watch(deployed: Deploy) -> None:
    found = deployed(WITH_TOPIC)
    alarms = found.of_type("AWS::CloudWatch::Alarm").values()
    watched = sum(
        len([one for one in alarm.get("Metrics", [""]) if one == "" or "MetricStat" in one]) for alarm in alarms
    )
    added = cost(found) - cost(deployed())
    assert alarms
    assert added == watched * Decimal("0.10") + len(GAUGES) * METRIC_USD


def test_a_schedule_that_is_disabled_costs_nothing(deployed: Deploy) -> None:
    found = idle_lines(deployed({"MigrateCollections": "off"}).resources)
    assert not [line for line in found if "Migrate" in line.what]
    assert total(found) < cost(deployed())


def test_a_resource_without_a_known_price_is_an_error_and_not_free(deployed: Deploy) -> None:
    resources: Mapping[str, Any] = {**deployed().resources, "Odd": {"Type": "AWS::RDS::DBInstance"}}
    with pytest.raises(UnknownPrice, match="AWS::RDS::DBInstance"):
        idle_lines(resources)


def test_the_tables_of_the_page_of_operation_are_those_of_the_template(deployed: Deploy) -> None:
    """Otherwise run `.local/envs/bridge/bin/python infra/build/idle_cost_table.py`."""
    page = idle_cost_table.DOCUMENT.read_text(encoding="utf-8")
    made = idle_cost_table.with_tables(page, lambda parameters: idle_lines(deployed(parameters).resources))
    assert made == page


# ---- What a run does is counted, with two providers that are healthy.


class Timed:
    """The context of an invocation with four minutes left."""

    def get_remaining_time_in_millis(self) -> int:
        return 240_000


@pytest.fixture(scope="module")
def aws() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaProcess]:
    server = ChromaProcess(tmp_path_factory.mktemp("chroma"))
    server.start()
    yield server
    server.end()


@pytest.fixture
def bridge(aws: DynamoDb, fake: FakeProvider, chroma: ChromaProcess, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    for name, value in {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_DYNAMODB": aws.url,
        "AWS_ENDPOINT_URL_SQS": aws.url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    queues = aws.new_queue()
    return make_bridge(
        make_settings(
            provider("p", chat_model("a"), base_url=f"{fake.url}/v1"),
            provider("q", embedding_model("e"), base_url=f"{fake.url}/v1"),
            chroma={"url": chroma.url},
            default_models={"embedding": "e"},
        ),
        table=aws.new_table(),
        queue_url=queues.url,
        dead_letters_url=queues.dead_letters_url,
    )


def units(requests: list[RecordedRequest]) -> dict[str, int]:
    """What AWS bills: a unit for each item that is read consistently, or written, of items below 1 kB."""
    counted = {"reads": 0, "writes": 0, "queue_requests": 0}
    for one in requests:
        match one.action:
            case "BatchGetItem":
                [asked] = one.request["RequestItems"].values()
                assert asked["ConsistentRead"]
                counted["reads"] += len(asked["Keys"])
            case "UpdateItem" | "PutItem" | "DeleteItem":
                counted["writes"] += 1
            case "GetQueueAttributes" | "ReceiveMessage":
                counted["queue_requests"] += 1
            case other:
                pytest.fail(f"what does {other} cost?")
    return counted


@pytest.mark.parametrize(
    ("function", "make_job"),
    [
        ("HealthCheckFunction", health_check.make_job),
        ("DrainFunction", lambda: drain.run),
        ("MigrateCollectionsFunction", lambda: migrate.run),
    ],
)
def test_an_idle_run_sends_the_requests_and_logs_the_bytes_that_are_calculated_with(
    function: str,
    make_job: Callable[[], Job],
    bridge: Bridge,
    aws: DynamoDb,
    log: StringIO,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def second_run() -> list[RecordedRequest]:
        job = make_job()
        await job(bridge, Invocation({}, Timed()))
        aws.requests.clear()
        log.truncate(0)
        capsys.readouterr()
        await job(bridge, Invocation({}, Timed()))
        await bridge.connections.aclose()
        return list(aws.requests)

    run = RUNS[function]
    assert units(asyncio.run(second_run())) == {
        "reads": run.reads,
        "writes": run.writes,
        "queue_requests": run.queue_requests,
    }
    logged = len(log.getvalue().strip("\0").encode()) + len(capsys.readouterr().out.encode())
    assert logged <= run.log_bytes
    assert logged or not run.log_bytes


def test_the_check_writes_the_gauges_that_are_calculated_with(
    bridge: Bridge, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(health_check.make_job()(bridge, Invocation({"gauges": True}, Timed())))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    written = {one["Name"] for line in lines for group in line["_aws"]["CloudWatchMetrics"] for one in group["Metrics"]}
    assert written == GAUGES


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("SnapStart", "SnapStart: give parameters of the template as NAME=VALUE"),
        ("NoSuch=1", "NoSuch: give parameters of the template as NAME=VALUE"),
        ("SnapStart=maybe", "SnapStart: must be off, chat or all"),
    ],
)
def test_no_bill_is_made_of_parameters_that_a_stack_cannot_have(
    argument: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        idle_cost_table.main([argument])
    assert reason in capsys.readouterr().err
