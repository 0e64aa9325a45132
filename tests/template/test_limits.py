"""The template with every interesting set of parameters: within AWS's quotas, and nothing refers to what is not there.

Quotas: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html (CloudFormation),
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html (IAM),
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html (Lambda),
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html (CloudWatch).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.template.cloudformation import Template
from tests.template.deployed import Deployed
from tests.template.parameter_sets import READ_BY_TRANSFORM, pair_sets, single_sets, values_of

pytestmark = pytest.mark.sam

TEMPLATE = Template()
SETS = [*single_sets(TEMPLATE), *pair_sets(TEMPLATE)]
REFERENCE = re.compile(r"<([A-Za-z0-9]+)(?:\.[A-Za-z0-9.]+)?>")
MAX_TEMPLATE_BYTES = 1_000_000  # in S3, from where `sam deploy` gives it to CloudFormation
MAX_RESOURCES, MAX_PARAMETERS, MAX_OUTPUTS = 500, 200, 200
MAX_PARAMETER_BYTES = 4_096
MAX_DYNAMIC_REFERENCES = 60
MAX_NAME = 255
MAX_ENVIRONMENT_BYTES = 4_096
MAX_POLICIES_OF_ROLE = 10
MAX_INLINE_CHARACTERS, MAX_MANAGED_CHARACTERS, MAX_TRUST_CHARACTERS = 10_240, 6_144, 2_048
MAX_ALARM_SECONDS = 86_400
# (resource type, property) → the most characters.
MAX_TEXT = {
    ("AWS::ApiGateway::RestApi", "Description"): 1_024,
    ("AWS::CloudWatch::Alarm", "AlarmDescription"): 1_024,
    ("AWS::IAM::ManagedPolicy", "Description"): 1_000,
    ("AWS::IAM::Role", "Description"): 1_000,
    ("AWS::Lambda::Function", "Description"): 256,
    ("AWS::Lambda::LayerVersion", "Description"): 256,
    ("AWS::Lambda::LayerVersion", "LayerName"): 140,
    ("AWS::Lambda::Version", "Description"): 256,
    ("AWS::Scheduler::Schedule", "Description"): 512,
}


def name_of(parameters: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in parameters.items())[:60] or "defaults"


@pytest.fixture(scope="module", params=SETS, ids=name_of)
def stack(request: pytest.FixtureRequest, deployed: Callable[..., Deployed]) -> Deployed:
    """What is deployed with each set of parameters in turn."""
    parameters: dict[str, str] = request.param
    read = {name: value for name, value in parameters.items() if name in READ_BY_TRANSFORM}
    return deployed(read).with_parameters(parameters)


def test_every_parameter_has_a_value_to_try() -> None:
    missing = [name for name, parameter in TEMPLATE.parameters.items() if not values_of(name, parameter)]
    assert not missing, f"add examples of {', '.join(missing)} to EXAMPLES in tests/template/parameter_sets.py"


@pytest.mark.parametrize("name", TEMPLATE.parameters)
def test_the_values_to_try_are_accepted_by_the_template(name: str) -> None:
    parameter = TEMPLATE.parameters[name]
    for value in values_of(name, parameter):
        parts = value.split(",") if parameter["Type"] == "CommaDelimitedList" else [value]
        assert all(re.fullmatch(parameter.get("AllowedPattern", ".*").strip("^$"), part) for part in parts), value
        assert len(value) <= parameter.get("MaxLength", MAX_PARAMETER_BYTES)
        assert value in map(str, parameter.get("AllowedValues", [value]))


def test_the_transform_depends_on_no_other_parameter(deployed: Callable[..., Deployed]) -> None:
    """So the tests translate the template once, and resolve it with each set."""
    first = {name: values_of(name, parameter)[0] for name, parameter in TEMPLATE.parameters.items()}
    others = {name: value for name, value in first.items() if name not in READ_BY_TRANSFORM}
    assert same_deployment(deployed(others)) == same_deployment(deployed())


def same_deployment(stack: Deployed) -> str:
    """Returns the template with one id for the API's deployment. The transform takes it from the time, where it must
    always deploy the API.
    """
    return re.sub(r"(ApiDeployment|deployment id: )[0-9a-f]+", r"\1", stack.text)


def test_nothing_refers_to_a_resource_that_does_not_exist(stack: Deployed) -> None:
    known = json.loads(stack.text)["Resources"]
    dangling = {
        f"{name} → {target}"
        for name, part in {**stack.resources, **stack.outputs}.items()
        for target in REFERENCE.findall(json.dumps({key: value for key, value in part.items() if key != "DependsOn"}))
        if target in known and target not in stack.resources
    }
    assert not dangling


def test_the_translated_template_is_within_cloudformations_quotas(stack: Deployed) -> None:
    template = json.loads(stack.text)
    assert len(stack.text.encode()) < MAX_TEMPLATE_BYTES / 2, "half of the quota remains for what is added later"
    assert len(template["Resources"]) <= MAX_RESOURCES
    assert len(template["Parameters"]) <= MAX_PARAMETERS
    assert len(template["Outputs"]) <= MAX_OUTPUTS
    assert len(template["Description"].encode()) <= 1_024
    assert stack.text.count("{{resolve:") <= MAX_DYNAMIC_REFERENCES
    assert all(re.fullmatch(rf"[A-Za-z0-9]{{1,{MAX_NAME}}}", name) for name in template["Resources"])
    assert all(len(parameter.get("Description", "")) <= 4_000 for parameter in template["Parameters"].values())


def test_descriptions_and_names_are_within_the_services_limits(stack: Deployed) -> None:
    for (kind, field), limit in MAX_TEXT.items():
        for name, properties in stack.of_type(kind).items():
            assert len(properties.get(field, "")) <= limit, (name, field)


def test_the_environment_of_a_function_is_within_lambdas_limit(stack: Deployed) -> None:
    for name, properties in stack.of_type("AWS::Lambda::Function").items():
        variables = properties.get("Environment", {}).get("Variables", {})
        # A reference to a table or a queue becomes its name or URL, of up to 200 characters.
        size = sum(len(key) + max(len(str(value)), 200 * ("<" in str(value))) for key, value in variables.items())
        assert size <= MAX_ENVIRONMENT_BYTES, name
        assert len(properties.get("Layers", [])) <= 5, name


def test_roles_and_policies_are_within_iams_quotas(stack: Deployed) -> None:
    attached: dict[str, int] = {}
    for name, properties in stack.of_type("AWS::IAM::Role").items():
        attached[f"<{name}>"] = len(properties.get("ManagedPolicyArns", []))
        assert (
            sum(compact(policy["PolicyDocument"]) for policy in properties.get("Policies", [])) <= MAX_INLINE_CHARACTERS
        )
        assert compact(properties["AssumeRolePolicyDocument"]) <= MAX_TRUST_CHARACTERS, name
    for name, properties in stack.of_type("AWS::IAM::ManagedPolicy").items():
        assert compact(properties["PolicyDocument"]) <= MAX_MANAGED_CHARACTERS, name
        for role in properties.get("Roles", []):
            attached[role] += 1
    assert max(attached.values()) <= MAX_POLICIES_OF_ROLE, attached


def compact(policy: object) -> int:
    """Returns the characters of a policy without white space, which IAM does not count."""
    return len(re.sub(r"\s", "", json.dumps(policy)))


def test_alarms_are_within_cloudwatchs_quotas(stack: Deployed) -> None:
    for name, properties in stack.of_type("AWS::CloudWatch::Alarm").items():
        metrics = [metric for metric in properties.get("Metrics", []) if "MetricStat" in metric]
        period = properties.get("Period") or max(metric["MetricStat"]["Period"] for metric in metrics)
        assert len(metrics) <= 10, name
        assert int(period) * int(properties["EvaluationPeriods"]) <= MAX_ALARM_SECONDS, name
        assert len(properties.get("AlarmActions", [])) <= 5, name


def test_a_dashboard_is_json_within_cloudwatchs_quotas(stack: Deployed) -> None:
    for name, properties in stack.of_type("AWS::CloudWatch::Dashboard").items():
        widgets = json.loads(properties["DashboardBody"])["widgets"]
        metrics = [len(widget.get("properties", {}).get("metrics", [])) for widget in widgets]
        assert len(widgets) <= 500, name
        assert max(metrics) <= 500, name
        assert sum(metrics) <= 2_500, name


def longest(name: str, parameter: Mapping[str, Any]) -> str:
    """Returns the longest value that the template accepts for a parameter."""
    if "AllowedValues" in parameter:
        return max(map(str, parameter["AllowedValues"]), key=len)
    if "MaxLength" in parameter:
        return "x" * int(parameter["MaxLength"])
    return values_of(name, parameter)[0]


def test_the_longest_values_fit_into_the_descriptions_of_versions(deployed: Callable[..., Deployed]) -> None:
    values = {name: longest(name, parameter) for name, parameter in TEMPLATE.parameters.items()}
    versions = deployed().with_parameters(values).of_type("AWS::Lambda::Version")
    lengths = {name: len(properties["Description"]) for name, properties in versions.items()}
    assert max(lengths.values()) <= MAX_TEXT["AWS::Lambda::Version", "Description"]


def test_a_parameter_in_the_description_of_a_version_has_a_highest_length() -> None:
    named = {found for one in TEMPLATE.functions for found in parameters_of(one.properties["VersionDescription"])}
    endless = [name for name in named if not {"AllowedValues", "MaxLength"} & TEMPLATE.parameters[name].keys()]
    assert not [name for name in endless if TEMPLATE.parameters[name]["Type"] != "Number"]


def parameters_of(description: object) -> Iterator[str]:
    """Yields the parameters that the texts of a description name."""
    for text in re.findall(r'"Fn::Sub": "([^"]*)"', json.dumps(description)):
        yield from (found for found in re.findall(r"\$\{(\w+)\}", text) if found in TEMPLATE.parameters)
