"""What a deployed stack costs in a month in which nobody calls it: the arithmetic, and the prices that it uses.

Prices are those of us-east-1, in USD, without any free tier: a company has used up its own. They were read in November
2026 from the pages that SOURCES names.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

HOURS = Decimal(730)  # of a month, as AWS calculates
MINUTES = HOURS * 60
SECONDS = MINUTES * 60
MILLION = Decimal(1_000_000)
GIB = Decimal(1024**3)

SOURCES: Mapping[str, str] = {
    "lambda": "https://aws.amazon.com/lambda/pricing/",
    "scheduler": "https://aws.amazon.com/eventbridge/pricing/",
    "dynamodb": "https://aws.amazon.com/dynamodb/pricing/on-demand/",
    "sqs": "https://aws.amazon.com/sqs/pricing/",
    "cloudwatch": "https://aws.amazon.com/cloudwatch/pricing/",
    "kms": "https://aws.amazon.com/kms/pricing/",
    "secrets": "https://aws.amazon.com/secrets-manager/pricing/",
    "endpoints": "https://aws.amazon.com/privatelink/pricing/",
    "ec2": "https://aws.amazon.com/ec2/pricing/on-demand/",
    "ebs": "https://aws.amazon.com/ebs/pricing/",
    "route53": "https://aws.amazon.com/route53/pricing/",
    "vpc": "https://aws.amazon.com/vpc/pricing/",
}

SNAPSHOT_USD_PER_GB_SECOND = Decimal("0.0000015046")  # lambda; both architectures; at least 3 hours for each version
RESTORE_USD_PER_GB = Decimal("0.0001397998")  # lambda; at each start from a snapshot, so not while idle
INVOCATION_USD = Decimal("0.20") / MILLION  # lambda
RUN_USD_PER_GB_SECOND: Mapping[str, Decimal] = {  # lambda, by architecture
    "arm64": Decimal("0.0000133334"),
    "x86_64": Decimal("0.0000166667"),
}
SCHEDULE_USD = Decimal("1.00") / MILLION  # scheduler, for each invocation
READ_USD = Decimal("0.125") / MILLION  # dynamodb, for each request unit
WRITE_USD = Decimal("0.625") / MILLION  # dynamodb, for each request unit
QUEUE_REQUEST_USD = Decimal("0.50") / MILLION  # sqs, of a FIFO queue
LOG_USD_PER_GB = Decimal("0.50")  # cloudwatch, for each GB that is written
LOG_STORAGE_USD_PER_GB = Decimal("0.03")  # cloudwatch, for each GB and month; counted without compression
METRIC_USD = Decimal("0.30")  # cloudwatch, for each name and combination of dimensions
ALARM_USD = Decimal("0.10")  # cloudwatch, for each metric of the alarm
DASHBOARD_USD = Decimal("3.00")  # cloudwatch
KEY_USD = Decimal("1.00")  # kms
SECRET_USD = Decimal("0.40")  # secrets
ENDPOINT_USD_PER_HOUR = Decimal("0.01")  # endpoints, for each subnet of an interface endpoint

SECRET_CALL_USD = Decimal("0.05") / 10_000  # secrets, for each GetSecretValue
INSTANCE_USD_PER_HOUR = Decimal("0.0168")  # ec2, a t4g.small
VOLUME_USD_PER_GB = Decimal("0.08")  # ebs, gp3
ZONE_USD = Decimal("0.50")  # route53, for each hosted zone
NAT_USD_PER_HOUR = Decimal("0.045")  # vpc, without its traffic
ADDRESS_USD_PER_HOUR = Decimal("0.005")  # vpc, of a public IPv4 address

MB_OF_ONE_PROCESSOR = Decimal(1769)
"""The memory with which a function has one virtual processor; with less, a share of it.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

LAMBDA_LINES_BYTES = 400
"""What Lambda itself logs for each run: START, END and REPORT, 290 characters, with the 26 bytes that CloudWatch counts
for each event."""

GAUGES = frozenset({"DisabledProviders", "HealthyProviders", "OpenBreakers"})
"""The metrics that a health check writes where its schedule's event asks for them."""

FREE = frozenset(
    {
        # No price, or only for what is requested or stored: an idle stack has no requests, and stores some kilobytes.
        "AWS::ApiGateway::Account",
        "AWS::ApiGateway::Authorizer",
        "AWS::ApiGateway::BasePathMapping",
        "AWS::ApiGateway::Deployment",
        "AWS::ApiGateway::DomainName",
        "AWS::ApiGateway::GatewayResponse",
        "AWS::ApiGateway::RestApi",
        "AWS::ApiGateway::Stage",
        "AWS::CodeDeploy::Application",
        "AWS::CodeDeploy::DeploymentGroup",
        "AWS::DynamoDB::Table",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::KMS::Alias",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Function",
        "AWS::Lambda::LayerVersion",
        "AWS::Lambda::Permission",
        "AWS::Logs::LogGroup",
        "AWS::Logs::ResourcePolicy",
        "AWS::Logs::SubscriptionFilter",
        "AWS::Route53::RecordSet",
        "AWS::SNS::Topic",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
        "AWS::WAFv2::WebACLAssociation",
    }
)


@dataclass(frozen=True, slots=True)
class IdleRun:
    """What one run of a scheduled function does while nothing is to be done, with two providers, all healthy.

    Times in milliseconds: `cpu_ms` of a whole processor (measured on one of 2026, doubled), `wait_ms` for others.
    `reads` and `writes` are DynamoDB's request units, `queue_requests` those of SQS. `log_bytes` is what the code logs.
    tests/template/test_idle_cost.py counts the requests and the bytes of real runs.
    """

    cpu_ms: int
    wait_ms: int
    reads: int = 0
    writes: int = 0
    queue_requests: int = 0
    log_bytes: int = 0

    def gb_seconds(self, memory_mb: int) -> Decimal:
        """Returns what Lambda bills: less memory makes the processor's part longer."""
        share = min(Decimal(1), memory_mb / MB_OF_ONE_PROCESSOR)
        return (self.cpu_ms / share + self.wait_ms) / 1000 * memory_mb / 1024


RUNS: Mapping[str, IdleRun] = {
    # A provider is asked for its list of models, which takes a third of a second if it is far away.
    "HealthCheckFunction": IdleRun(cpu_ms=18, wait_ms=330, reads=2, writes=2),
    "DrainFunction": IdleRun(cpu_ms=10, wait_ms=20, reads=1, queue_requests=1),
    # Lambda has ended its environment since the last run, so each run has an init, and with a Chroma server the import
    # of Chroma's client.
    "MigrateCollectionsFunction": IdleRun(cpu_ms=1600, wait_ms=100, writes=2, log_bytes=400),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill: `usd` in a month, for `what`; `how` says the quantity."""

    what: str
    how: str
    usd: Decimal


class UnknownPrice(Exception):
    """A resource is of a type whose price is not known here."""


def idle_lines(resources: Mapping[str, Mapping[str, Any]], *, versions: int = 1) -> list[Line]:
    """Returns the bill of a month without a request.

    `resources`: the translated template with resolved conditions, logical id → resource; `<Name>` is a reference.
    `versions` is how many versions of each function exist. Raises `UnknownPrice`.
    """
    stack = _Stack(resources)
    lines = [*_snapshots(stack, versions), *_schedules(stack), *_metrics(stack), *_fixed(stack)]
    return [line for line in lines if line.usd]


def total(lines: list[Line]) -> Decimal:
    """Returns the sum in USD."""
    return sum((line.usd for line in lines), Decimal(0))


class _Stack:
    def __init__(self, resources: Mapping[str, Mapping[str, Any]]) -> None:
        self._resources = resources
        priced = (
            FREE | _FIXED_USD.keys() | {"AWS::Lambda::Version", "AWS::Scheduler::Schedule", "AWS::CloudWatch::Alarm"}
        )
        unknown = {one["Type"] for one in resources.values()} - priced - {"AWS::EC2::VPCEndpoint"}
        if unknown:
            raise UnknownPrice(f"infra/build/idle_cost.py does not know what these cost: {', '.join(sorted(unknown))}")

    def of_type(self, kind: str) -> dict[str, Mapping[str, Any]]:
        return {name: one.get("Properties", {}) for name, one in self._resources.items() if one["Type"] == kind}

    def function_of(self, reference: str) -> str:
        """Returns the logical id of the function that `<Alias>`, `<Version>` or `<Function.Arn>` refers to."""
        name = reference.strip("<>").partition(".")[0]
        properties = self._resources[name].get("Properties", {})
        if self._resources[name]["Type"] == "AWS::Lambda::Function":
            return name
        return self.function_of(properties["FunctionName"])

    def memory_mb(self, function: str) -> int:
        return int(self._resources[function]["Properties"].get("MemorySize", 128))

    def architecture(self, function: str) -> str:
        return str(self._resources[function]["Properties"].get("Architectures", ["x86_64"])[0])

    def has_snapshot(self, function: str) -> bool:
        snapshot = self._resources[function]["Properties"].get("SnapStart", {})
        return bool(snapshot.get("ApplyOn") == "PublishedVersions")


def _snapshots(stack: _Stack, versions: int) -> Iterator[Line]:
    published = [stack.function_of(f"<{name}>") for name in stack.of_type("AWS::Lambda::Version")]
    memory_mb = sum(stack.memory_mb(one) for one in published if stack.has_snapshot(one))
    gb = Decimal(memory_mb * versions) / 1024
    usd = gb * SECONDS * SNAPSHOT_USD_PER_GB_SECOND
    yield Line("snapshots of SnapStart", f"{_number(gb)} GB for a month", usd)


def _schedules(stack: _Stack) -> Iterator[Line]:
    runs = _runs(stack)
    count = sum(runs.values(), Decimal(0))
    yield Line("EventBridge Scheduler", f"{count:,.0f} invocations", count * SCHEDULE_USD)
    yield Line("Lambda, requests", f"{count:,.0f} invocations", count * INVOCATION_USD)
    for function, number in runs.items():
        gb_seconds = number * RUNS[function].gb_seconds(stack.memory_mb(function))
        usd = gb_seconds * RUN_USD_PER_GB_SECOND[stack.architecture(function)]
        yield Line(f"Lambda, `{function}`", f"{gb_seconds:,.0f} GB-seconds with {stack.memory_mb(function)} MB", usd)
    reads = sum((number * RUNS[function].reads for function, number in runs.items()), Decimal(0))
    writes = sum((number * RUNS[function].writes for function, number in runs.items()), Decimal(0))
    requests = sum((number * RUNS[function].queue_requests for function, number in runs.items()), Decimal(0))
    own_bytes = sum((number * RUNS[function].log_bytes for function, number in runs.items()), Decimal(0))
    yield Line("DynamoDB, reads", f"{reads:,.0f} units", reads * READ_USD)
    yield Line("DynamoDB, writes", f"{writes:,.0f} units", writes * WRITE_USD)
    yield Line("SQS", f"{requests:,.0f} requests", requests * QUEUE_REQUEST_USD)
    gb = (own_bytes + count * LAMBDA_LINES_BYTES) / GIB
    yield Line("CloudWatch Logs", f"{gb * 1024:,.0f} MB", gb * (LOG_USD_PER_GB + LOG_STORAGE_USD_PER_GB))


def _runs(stack: _Stack) -> dict[str, Decimal]:
    """Returns function → runs in a month."""
    return {
        stack.function_of(schedule["Target"]["Arn"]): _runs_per_month(schedule["ScheduleExpression"])
        for schedule in stack.of_type("AWS::Scheduler::Schedule").values()
        if schedule.get("State", "ENABLED") == "ENABLED"
    }


def _runs_per_month(expression: str) -> Decimal:
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if found is None:
        raise UnknownPrice(f"the schedule {expression} is no rate")
    return MINUTES / (int(found[1]) * {"minute": 1, "hour": 60, "day": 1440}[found[2]])


def _metrics(stack: _Stack) -> Iterator[Line]:
    inputs = [
        schedule["Target"].get("Input") or "{}" for schedule in stack.of_type("AWS::Scheduler::Schedule").values()
    ]
    if any(json.loads(one).get("gauges") for one in inputs):
        yield Line("CloudWatch, metrics of the check", f"{len(GAUGES)}", len(GAUGES) * METRIC_USD)
    alarms = stack.of_type("AWS::CloudWatch::Alarm").values()
    watched = sum(sum("MetricStat" in one for one in alarm.get("Metrics", [])) or 1 for alarm in alarms)
    yield Line("CloudWatch, alarms", f"{watched} metrics in {len(alarms)} alarms", watched * ALARM_USD)


_FIXED_USD: Mapping[str, tuple[str, Decimal]] = {
    "AWS::CloudWatch::Dashboard": ("CloudWatch, dashboards", DASHBOARD_USD),
    "AWS::KMS::Key": ("KMS keys", KEY_USD),
    "AWS::SecretsManager::Secret": ("secrets", SECRET_USD),
}


def _fixed(stack: _Stack) -> Iterator[Line]:
    for kind, (what, usd) in _FIXED_USD.items():
        number = len(stack.of_type(kind))
        yield Line(what, f"{number}", number * usd)
    endpoints = [
        one for one in stack.of_type("AWS::EC2::VPCEndpoint").values() if one.get("VpcEndpointType") == "Interface"
    ]
    subnets = sum(len(one.get("SubnetIds", [""])) for one in endpoints)
    yield Line("interface endpoints", f"in {subnets} subnets", subnets * HOURS * ENDPOINT_USD_PER_HOUR)


def chroma_lines(*, volume_gb: int, makes_vpc: bool) -> list[Line]:
    """Returns the bill of `infra/chroma.yaml` without its backups, with an instance of the default type."""
    volumes = volume_gb + 8  # with that of the system
    calls = MINUTES / 5 * 2  # of the token and the one before, every five minutes
    lines = [
        Line("instance", "t4g.small", HOURS * INSTANCE_USD_PER_HOUR),
        Line("volumes", f"{volumes} GB", volumes * VOLUME_USD_PER_GB),
        Line("private zone", "1", ZONE_USD),
        Line("token", f"1, read {calls:,.0f} times", SECRET_USD + calls * SECRET_CALL_USD),
    ]
    nat = Line("NAT gateway", "with its address", HOURS * (NAT_USD_PER_HOUR + ADDRESS_USD_PER_HOUR))
    return [*lines, nat] if makes_vpc else lines


def _number(value: Decimal) -> str:
    return f"{value.normalize():f}"
