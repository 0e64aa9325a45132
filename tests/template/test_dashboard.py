"""The dashboard, and that it and the alarms watch metrics that exist: names, dimensions and statistics."""

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge.observability import METRICS_NAMESPACE, Metric, logger
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider
from tests.template.cloudformation import ROOT
from tests.template.deployed import Deployed
from tests.template.metric_lines import SCENARIOS, Written, written_metrics
from tests.template.watched import Watched, of_alarm, of_dashboard

COMPANY = {
    "AlertTopicArn": "arn:aws:sns:eu-west-1:123456789012:alerts",
    "Dashboard": "on",
    "Deployment": "canary",
}
AWS_METRICS: dict[str, Any] = json.loads((ROOT / "tests/template/aws_metrics.json").read_text())
GAUGES = {Metric.HEALTHY_PROVIDERS, Metric.DISABLED_PROVIDERS, Metric.OPEN_BREAKERS, Metric.BUDGET_USED_PERCENT}
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
BODY_KEYS = {"start", "end", "periodOverride", "variables", "widgets"}
WIDGET_KEYS = {"type", "x", "y", "width", "height", "properties"}
PROPERTY_KEYS = {
    *("accountId", "annotations", "end", "gridLine", "legend", "liveData", "metrics", "period", "region"),
    *("setPeriodToTimeRange", "singleValueFullPrecision", "sparkline", "stacked", "start", "stat", "table"),
    *("timezone", "title", "trend", "view", "yAxis"),
}
METRIC_KEYS = {"accountId", "color", "label", "period", "region", "stat", "visible", "yAxis", "id"}
EXPRESSION_KEYS = {"accountId", "color", "expression", "id", "label", "period", "region", "visible", "yAxis"}


@pytest.fixture(scope="module")
def company(deployed: Callable[..., Deployed]) -> Deployed:
    return deployed(COMPANY)


@pytest.fixture(scope="module")
def body(company: Deployed) -> str:
    [dashboard] = company.of_type("AWS::CloudWatch::Dashboard").values()
    return str(dashboard["DashboardBody"])


@pytest.fixture(scope="module")
def widgets(body: str) -> list[dict[str, Any]]:
    content = json.loads(body)
    assert content.keys() <= BODY_KEYS
    return list(content["widgets"])


@pytest.fixture(scope="module")
def written() -> Written:
    """The metrics that the code paths write."""
    text, handler = StringIO(), logger().registered_handler
    before, handler.stream = handler.stream, text  # type: ignore[attr-defined]  # Powertools' handler writes to a stream
    with redirect_stdout(text):
        for scenario in SCENARIOS:
            with FakeProvider() as fake:
                scenario(fake, FakeClock())
    handler.stream = before  # type: ignore[attr-defined]  # as above
    return written_metrics(text.getvalue().splitlines())


def test_every_metric_is_written_by_some_code_path(written: Written) -> None:
    assert {name for _, name, _, _ in written} == set(Metric)
    assert {namespace for namespace, *_ in written} == {METRICS_NAMESPACE}


def test_alarms_and_dashboard_watch_metrics_of_the_bridge_that_its_code_writes(
    company: Deployed, body: str, written: Written
) -> None:
    exist = {(namespace, name, dimensions) for namespace, name, dimensions, _ in written}
    own = [one for one in watched(company, body) if one.namespace == METRICS_NAMESPACE]
    assert own
    assert [one for one in own if (one.namespace, one.name, one.dimension_names) not in exist] == []
    units = {name: unit for _, name, _, unit in written}
    assert [one for one in own if not has_meaning(one, units[one.name])] == []


def has_meaning(one: Watched, unit: str) -> bool:
    """Whether the statistic says something about such a metric: a gauge has no sum, a time is a percentile."""
    if unit == "Milliseconds":
        return one.statistic in {"p50", "p95", "p99"}
    return one.statistic == ("Maximum" if one.name in GAUGES else "Sum")


def test_what_is_watched_of_aws_is_documented(company: Deployed, body: str) -> None:
    others = [one for one in watched(company, body) if one.namespace != METRICS_NAMESPACE]
    assert {one.namespace for one in others} == AWS_METRICS.keys()
    for one in others:
        service = AWS_METRICS[one.namespace]
        assert sorted(one.dimension_names) in map(sorted, service["dimensions"]), one
        assert one.statistic in service["metrics"][one.name], one


def watched(company: Deployed, body: str) -> list[Watched]:
    alarms = company.of_type("AWS::CloudWatch::Alarm").values()
    return [*of_dashboard(body), *(one for alarm in alarms for one in of_alarm(alarm))]


def test_the_values_of_dimensions_are_those_that_the_stack_has(company: Deployed, body: str) -> None:
    """The service is the stack's name, and the release the layer, because the functions' environment says so."""
    functions = company.of_type("AWS::Lambda::Function")
    environments = [function["Environment"]["Variables"] for function in functions.values()]
    [services, releases] = [
        {environment[name] for environment in environments} for name in ("POWERTOOLS_SERVICE_NAME", "BRIDGE_RELEASE")
    ]
    [api] = company.of_type("AWS::ApiGateway::RestApi").values()
    possible = {
        "service": services,
        "release": releases,
        "FunctionName": {f"<{name}>" for name in functions},
        "Resource": {f"<{name}>:live" for name in functions},
        "ExecutedVersion": {f"<{name}.Version>" for name in company.of_type("AWS::Lambda::Version")},
        "ApiName": {api["Name"]},
        "Stage": {stage["StageName"] for stage in company.of_type("AWS::ApiGateway::Stage").values()},
        "QueueName": {f"<{name}.QueueName>" for name in company.of_type("AWS::SQS::Queue")},
        "TableName": {f"<{name}>" for name in company.of_type("AWS::DynamoDB::Table")},
    }
    assert (len(services), len(releases)) == (1, 1)
    unknown = [
        (name, value) for one in watched(company, body) for name, value in one.dimensions if value not in possible[name]
    ]
    assert unknown == []


def test_every_metric_of_the_bridge_and_every_function_is_on_the_dashboard(company: Deployed, body: str) -> None:
    shown = list(of_dashboard(body))
    assert {one.name for one in shown if one.namespace == METRICS_NAMESPACE} == set(Metric)
    for name in ("Errors", "Throttles", "ConcurrentExecutions", "Duration"):
        functions = {dict(one.dimensions)["FunctionName"] for one in shown if one.name == name}
        assert functions == {f"<{function}>" for function in company.of_type("AWS::Lambda::Function")}, name


def test_a_widget_has_the_documented_structure(widgets: list[dict[str, Any]]) -> None:
    assert 0 < len(widgets) <= 500
    for widget in widgets:
        assert widget.keys() == WIDGET_KEYS
        assert widget["type"] == "metric"
        properties = widget["properties"]
        assert properties.keys() <= PROPERTY_KEYS
        assert (properties["region"], properties["view"]) == ("eu-west-1", "timeSeries")
        assert properties["period"] % 60 == 0
        assert 1 <= len(properties["metrics"]) <= 500


def test_a_row_of_a_widget_is_a_metric_or_an_expression(widgets: list[dict[str, Any]]) -> None:
    for widget in widgets:
        rows = widget["properties"]["metrics"]
        for row in rows:
            is_expression = len(row) == 1
            options = row[-1] if isinstance(row[-1], dict) else {}
            assert options.keys() <= (EXPRESSION_KEYS if is_expression else METRIC_KEYS), row
            assert options.get("yAxis", "left") in {"left", "right"}
            assert re.fullmatch(r"[a-z][a-zA-Z0-9_]*", options.get("id", "a"))
        ids = Counter(row[-1]["id"] for row in rows if isinstance(row[-1], dict) and "id" in row[-1])
        assert not [name for name, count in ids.items() if count > 1]


def test_widgets_fit_the_grid_and_do_not_overlap(widgets: list[dict[str, Any]]) -> None:
    cells = Counter(
        (x, y)
        for widget in widgets
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24


def test_there_is_no_dashboard_unless_it_is_asked_for(deployed: Callable[..., Deployed], company: Deployed) -> None:
    assert deployed().of_type("AWS::CloudWatch::Dashboard") == {}
    [dashboard] = company.of_type("AWS::CloudWatch::Dashboard").values()
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", dashboard["DashboardName"])
    assert company.outputs["DashboardName"]["Value"] == "<OperationDashboard>"
