"""How a new version takes over, what goes back to the old one, and which alarms there are."""

import json
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.errors import ConfigError
from template_checks import TOOLS, VARIANTS, Exemption, Finding, exemptions
from tests.fakes.functions import _load
from tests.template.cloudformation import ROOT, Template
from tests.template.deployed import Deployed
from tests.template.test_dashboard import COMPANY
from tests.template.watched import of_alarm

TEMPLATE = Template()
TOPIC = COMPANY["AlertTopicArn"]
SCHEDULED = {"HealthCheckFunction", "DrainFunction", "MigrateCollectionsFunction", "UsageRecordsFunction"}
IN_CANARY = {"NewModelVersionsFailAlarm", "NewOtherVersionsFailAlarm", "NoProviderAlarm"}
MAX_METRICS = 10  # of an alarm: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create-alarm-on-metric-math-expression.html
MAX_ALARMS_OF_A_GROUP = 10  # https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-create-alarms.html
DESCRIPTION_LIMIT = 1024  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
SAMCONFIG = tomllib.loads((ROOT / "infra/samconfig.toml").read_text())
SAM_READS = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
from samcli.commands.deploy.command import cli
from samcli.lib.config.samconfig import SamConfig
known = {option.name for option in cli.params}
for stage in sys.argv[2:]:
    read = SamConfig(sys.argv[1], "samconfig.toml").get_all(["deploy"], "parameters", stage)
    overrides = CfnParameterOverridesType().convert(read["parameter_overrides"], None, None)
    print(json.dumps({"unknown": sorted(read.keys() - known), "overrides": overrides, "name": read["stack_name"]}))
"""


@pytest.fixture(scope="module")
def company(deployed: Callable[..., Deployed]) -> Deployed:
    return deployed(COMPANY)


@pytest.fixture(scope="module")
def default(deployed: Callable[..., Deployed]) -> Deployed:
    return deployed()


def test_without_a_gradual_deployment_nothing_of_codedeploy_exists(default: Deployed) -> None:
    assert [name for name, one in default.resources.items() if "CodeDeploy" in one["Type"]] == []
    assert [one for one in default.resources.values() if "UpdatePolicy" in one] == []
    assert "DeploymentRole" not in default.resources


@pytest.mark.parametrize(
    ("kind", "configuration"), [("canary", "Canary10Percent5Minutes"), ("linear", "Linear10PercentEvery1Minute")]
)
def test_a_gradual_deployment_shifts_every_function_of_the_api_and_no_other(
    kind: str, configuration: str, deployed: Callable[..., Deployed]
) -> None:
    stack = deployed(COMPANY if kind == "canary" else {"Deployment": kind})
    groups = stack.of_type("AWS::CodeDeploy::DeploymentGroup")
    shifted = {name.removesuffix("DeploymentGroup") for name in groups}
    assert shifted == stack.of_type("AWS::Lambda::Function").keys() - SCHEDULED
    for group in groups.values():
        assert group["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{configuration}"
        assert group["ServiceRoleArn"] == "<DeploymentRole.Arn>"
        watched = {alarm["Name"].strip("<>") for alarm in group["AlarmConfiguration"]["Alarms"]}
        assert watched == IN_CANARY <= stack.of_type("AWS::CloudWatch::Alarm").keys()
        assert (group["AlarmConfiguration"]["Enabled"], len(watched) <= MAX_ALARMS_OF_A_GROUP) == (True, True)
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    for name, alias in stack.resources.items():
        if alias["Type"] == "AWS::Lambda::Alias":
            assert ("UpdatePolicy" in alias) == (name.removesuffix("Aliaslive") in shifted)


def test_the_new_versions_of_all_shifted_functions_and_of_the_health_check_are_watched(company: Deployed) -> None:
    alarms = company.of_type("AWS::CloudWatch::Alarm")
    watched = [one for name in IN_CANARY - {"NoProviderAlarm"} for one in of_alarm(alarms[name])]
    versions = {version: one["FunctionName"] for version, one in company.of_type("AWS::Lambda::Version").items()}
    found: Counter[str] = Counter()
    for one in watched:
        dimensions = dict(one.dimensions)
        if one.name == "InternalErrors":
            assert dimensions == {"service": "bridge", "release": "<" + bridge_layer(company) + ">"}
            continue
        function = versions[dimensions["ExecutedVersion"].strip("<>").removesuffix(".Version")]
        assert (dimensions["FunctionName"], dimensions["Resource"]) == (function, f"{function}:live")
        found[function.strip("<>")] += 1
    assert found == Counter({*company.of_type("AWS::Lambda::Function")} - (SCHEDULED - {"HealthCheckFunction"}))


def bridge_layer(stack: Deployed) -> str:
    [layer] = [name for name in stack.of_type("AWS::Lambda::LayerVersion") if name.startswith("BridgeLayer")]
    return layer


def test_a_health_check_with_an_invalid_configuration_fails_at_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lambda counts each invocation of such a function in its metric Errors, which the alarm on new versions watches."""
    invalid = tmp_path / "llm_providers.yaml"
    invalid.write_text("providers: [")
    monkeypatch.setenv("LLM_CONFIG_PATH", str(invalid))
    with pytest.raises(ConfigError):
        _load("health_check")


def test_an_alarm_goes_off_before_the_canary_ends() -> None:
    """The canary lasts five minutes. A check runs each minute, and an alarm sees a minute only when it is over."""
    for name in IN_CANARY:
        alarm = TEMPLATE.resources[name]["Properties"]
        stats = [one["MetricStat"]["Period"] for one in alarm.get("Metrics", []) if "MetricStat" in one]
        assert max([*stats, alarm.get("Period", 0)]) * alarm["EvaluationPeriods"] <= 180


def dependencies(template: dict[str, Any]) -> dict[str, set[str]]:
    """Returns resource → the resources that CloudFormation needs before it, of all branches of all conditions."""
    resources = template["Resources"]
    return {name: set(_named(one)) & resources.keys() for name, one in resources.items()}


def _named(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _named(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == "Ref" and isinstance(item, str):
            yield item
        elif key == "Fn::GetAtt":
            yield item.split(".")[0] if isinstance(item, str) else item[0]
        elif key == "Fn::Sub":
            text = item if isinstance(item, str) else item[0]
            yield from (name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text))
        elif key == "DependsOn":
            yield from [item] if isinstance(item, str) else item
        yield from _named(item)


def test_no_resource_depends_on_itself(company: Deployed, default: Deployed) -> None:
    for stack in (company, default):
        order = list(TopologicalSorter(dependencies(json.loads(stack.text))).static_order())  # raises CycleError
        assert set(order) == json.loads(stack.text)["Resources"].keys()


def test_an_alias_is_shifted_after_its_alarm_watches_the_new_version(company: Deployed) -> None:
    graph = dependencies(json.loads(company.text))
    version = next(name for name in company.of_type("AWS::Lambda::Version") if name.startswith("ChatCompletions"))
    chain = ("ChatCompletionsFunctionAliaslive", "ChatCompletionsFunctionDeploymentGroup", "NewModelVersionsFailAlarm")
    for later, earlier in pairwise((*chain, version)):
        assert earlier in graph[later], (later, earlier)


def test_codedeploy_may_shift_the_aliases_of_these_functions_and_read_alarms_and_nothing_else(
    company: Deployed,
) -> None:
    role = company.of_type("AWS::IAM::Role")["DeploymentRole"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "codedeploy.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    shift, read = role["Policies"][0]["PolicyDocument"]["Statement"]
    shifted = company.of_type("AWS::Lambda::Function").keys() - SCHEDULED
    arns = {f"<{name}.Arn>{suffix}" for name in shifted for suffix in ("", ":*")}
    assert set(shift["Resource"]) == arns
    assert set(shift["Action"]) == {"lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetProvisionedConcurrencyConfig"}
    assert read["Action"] == "cloudwatch:DescribeAlarms"
    assert read["Resource"] == "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:*"
    assert "ManagedPolicyArns" not in role


def test_no_version_is_deleted_by_a_deployment(default: Deployed, company: Deployed) -> None:
    for stack in (default, company):
        versions = [one for one in stack.resources.values() if one["Type"] == "AWS::Lambda::Version"]
        assert len(versions) == len(TEMPLATE.functions)
        assert {one["DeletionPolicy"] for one in versions} == {"Retain"}


def test_alarms_exist_only_where_somebody_is_told_or_a_gradual_deployment_needs_them(
    deployed: Callable[..., Deployed], default: Deployed, company: Deployed
) -> None:
    assert default.of_type("AWS::CloudWatch::Alarm") == {}
    untold = deployed({"Deployment": "linear"}).of_type("AWS::CloudWatch::Alarm")
    assert untold.keys() == IN_CANARY
    assert [name for name, alarm in untold.items() if "AlarmActions" in alarm] == []
    told = company.of_type("AWS::CloudWatch::Alarm")
    assert [name for name, alarm in told.items() if alarm["AlarmActions"] != [TOPIC]] == []
    assert told.keys() == TEMPLATE.of_type("AWS::CloudWatch::Alarm").keys()
    assert TEMPLATE.conditions["AlarmsOnSpend"] == {
        "Fn::And": [
            {"Condition": "HasAlertTopic"},
            {"Fn::Not": [{"Fn::Equals": [{"Ref": "SpendAlarmUsdPerHour"}, 0]}]},
        ]
    }


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_errors_and_throttles_of_every_function_raise_one_alarm(metric: str, company: Deployed) -> None:
    alarms = company.of_type("AWS::CloudWatch::Alarm")
    watched = Counter(
        dict(one.dimensions)["FunctionName"].strip("<>")
        for alarm in alarms.values()
        for one in of_alarm(alarm)
        if one.name == metric and one.dimension_names == {"FunctionName"}
    )
    assert watched == Counter(function.name for function in TEMPLATE.functions)


@pytest.mark.parametrize("name", TEMPLATE.of_type("AWS::CloudWatch::Alarm"))
def test_an_alarm_is_within_cloudwatchs_limits_and_says_what_happened(name: str) -> None:
    alarm = TEMPLATE.of_type("AWS::CloudWatch::Alarm")[name]
    assert len([one for one in alarm.get("Metrics", []) if "MetricStat" in one]) <= MAX_METRICS
    assert [one["Expression"] for one in alarm.get("Metrics", []) if one["ReturnData"]] in ([], ["SUM(METRICS())"])
    assert len(alarm["AlarmDescription"].split(".")) > 2  # what has happened, and what to do
    assert len(alarm["AlarmDescription"]) <= DESCRIPTION_LIMIT


def test_the_configuration_of_sam_has_only_what_sam_and_the_template_know(sam_python: Path) -> None:
    stages = [name for name in SAMCONFIG if name != "version"]
    command: list[str | Path] = [sam_python, "-c", SAM_READS, ROOT / "infra", *stages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert stages == ["dev", "prod"]
    read = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["unknown"] for one in read] == [[], []]
    for one in read:
        for name, value in one["overrides"].items():
            parameter = TEMPLATE.parameters[name]
            assert value in map(str, parameter.get("AllowedValues", [value]))
    assert len({one["name"] for one in read}) == len(read)  # two deployments, not one after the other
    assert [one["overrides"]["Deployment"] for one in read] == ["all-at-once", "canary"]


def test_a_guided_deployment_does_not_read_the_configuration_of_others() -> None:
    """SAM reads a samconfig beside template.yaml by itself; that one is a person's own, and is not in git."""
    assert "/samconfig.toml" in (ROOT / ".gitignore").read_text().splitlines()


def test_an_exception_of_the_checks_has_a_reason_and_names_resources_that_exist(
    company: Deployed, default: Deployed
) -> None:
    entries = exemptions()
    names = [*company.resources, *default.resources, *TEMPLATE_MAPPINGS, *other_resources()]
    for entry in entries:
        assert entry.tool in TOOLS
        assert len(entry.reason) > 20
        for pattern in entry.resources:
            finding = [Finding(entry.tool, entry.rule, name, "") for name in names]
            only = Exemption(entry.tool, entry.rule, [pattern], entry.reason)
            assert any(map(only.covers, finding)), pattern
    assert not entries[0].covers(Finding("checkov", "CKV_AWS_0", names[0], ""))


TEMPLATE_MAPPINGS = ("Deployments",)


def other_resources() -> list[str]:
    """The logical ids of the templates beside template.yaml."""
    return [
        name
        for file in (ROOT / "infra").glob("*.yaml")
        for name in re.findall(r"^  (\w+):$", file.read_text(), re.MULTILINE)
    ]


def test_the_checks_know_the_templates_parameters() -> None:
    assert [name for given in VARIANTS.values() for name in given if name not in TEMPLATE.parameters] == []
