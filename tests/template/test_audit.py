"""Audit: who asked for what is logged and kept, and what is stored can be encrypted with a key of the operator's."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from local_stack.cloudformation import Resolver
from sekha_llm_bridge.jobs.authorizer import KEY_ID_FIELD
from tests.template.cloudformation import ROOT, Template, load
from tests.template.deployed import PSEUDO, Deployed
from tests.template.switches import EVERYTHING, EVERYTHING_PUBLIC

pytestmark = pytest.mark.sam

KEY = EVERYTHING["KmsKeyArn"]
TEMPLATE = Template()
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html, without
# those that hold what the caller wrote.
VARIABLES = {
    *("requestTimeEpoch", "requestId", "extendedRequestId", "identity.sourceIp", f"authorizer.{KEY_ID_FIELD}"),
    *("httpMethod", "resourcePath", "status", "error.responseType", "responseLatency", "responseLength"),
    *("integration.requestId", "integration.status", "integration.latency", "integration.timeToFirstContent"),
    *("integration.error", "authorizer.requestId", "authorizer.status", "authorizer.latency", "authorizer.error"),
    "wafResponseCode",
}
LOG_GROUPS = ("LogGroup", "AccessLogGroup")


@pytest.fixture(scope="module")
def default(deployed: Callable[..., Deployed]) -> Deployed:
    """The template without any parameter."""
    return deployed()


def stage_of(deployed: Deployed) -> dict[str, Any]:
    [stage] = deployed.of_type("AWS::ApiGateway::Stage").values()
    return stage


def access_log_format(deployed: Deployed) -> str:
    return str(stage_of(deployed)["AccessLogSetting"]["Format"])


def test_the_access_log_is_a_line_of_json_in_a_log_group_of_its_own(everything: Deployed) -> None:
    assert stage_of(everything)["AccessLogSetting"]["DestinationArn"] == "<AccessLogGroup.Arn>"
    line = access_log_format(everything)
    assert "\n" not in line
    fields = json.loads(re.sub(r"\$context\.[\w.]+", "-", line))  # "-" is API Gateway's word for a missing value
    assert set(fields.values()) == {"-"}
    named = {
        "request_id",
        "source_ip",
        "key_id",
        "status",
        "latency_ms",
        "function_request_id",
        "function_error",
        "waf",
    }
    assert named <= fields.keys()


def test_the_access_log_has_nothing_that_the_caller_wrote(everything: Deployed) -> None:
    """A path, a query or a header may have a key or a prompt, or a quotation mark that forges fields."""
    assert set(re.findall(r"\$context\.([\w.]+)", access_log_format(everything))) == VARIABLES
    assert "$" not in re.sub(r"\$context\.[\w.]+", "", access_log_format(everything))


def test_the_example_of_the_operations_guide_has_the_fields_of_the_access_log(everything: Deployed) -> None:
    [example] = re.findall(r'^\{"time": .*?\}$', (ROOT / "infra/README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert list(json.loads(example)) == list(json.loads(access_log_format(everything)))


def test_the_key_policy_of_the_operations_guide_is_json_and_lets_cloudwatch_logs_use_the_key() -> None:
    [example] = re.findall(r'^\[\n  \{"Sid".*?^\]$', (ROOT / "infra/README.md").read_text(), re.MULTILINE | re.DOTALL)
    [service] = [one for one in json.loads(example) if "Service" in one["Principal"]]
    assert service["Principal"]["Service"] == f"logs.{PSEUDO['AWS::Region']}.amazonaws.com"


def test_without_its_switch_there_is_no_access_log_so_a_new_account_needs_no_role_for_it(default: Deployed) -> None:
    assert "AccessLogSetting" not in stage_of(default)
    assert default.of_type("AWS::Logs::LogGroup").keys() == {"LogGroup"}
    assert "AccessLogGroupName" not in default.outputs


def test_the_stack_does_not_touch_the_setting_that_all_apis_of_the_account_share(everything: Deployed) -> None:
    assert everything.of_type("AWS::ApiGateway::Account") == {}
    shared = load(ROOT / "infra/api-gateway-logs.yaml")["Resources"]
    assert shared["Account"]["Properties"] == {"CloudWatchRoleArn": {"Fn::GetAtt": "LogRole.Arn"}}
    assert {shared[name]["DeletionPolicy"] for name in ("Account", "LogRole")} == {"Retain"}


def test_logs_are_kept_when_the_stack_is_deleted_and_have_no_name_that_a_second_stack_would_need(
    everything: Deployed,
) -> None:
    for name in LOG_GROUPS:
        group = everything.resources[name]
        assert (group["DeletionPolicy"], group["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        assert "LogGroupName" not in group["Properties"]
        assert group["Properties"]["RetentionInDays"] == "30"
    assert everything.outputs["AccessLogGroupName"]["Value"] == "<AccessLogGroup>"


@pytest.mark.parametrize(("switch", "measured"), [("everything", {True}), ("default", {False})])
def test_api_gateway_counts_each_route_only_where_it_is_asked_to_and_never_logs_bodies(
    switch: str, measured: set[bool], request: pytest.FixtureRequest
) -> None:
    settings = stage_of(request.getfixturevalue(switch))["MethodSettings"]
    assert {one["MetricsEnabled"] for one in settings} == measured
    assert [one for one in settings if {"DataTraceEnabled", "LoggingLevel"} & one.keys()] == []


@pytest.mark.parametrize(("switch", "mode"), [("everything", "Active"), ("default", "PassThrough")])
def test_x_ray_traces_the_stage_and_every_function_where_it_is_on(
    switch: str, mode: str, request: pytest.FixtureRequest
) -> None:
    deployed: Deployed = request.getfixturevalue(switch)
    assert stage_of(deployed)["TracingEnabled"] is (mode == "Active")
    functions = deployed.of_type("AWS::Lambda::Function").values()
    assert {function["TracingConfig"]["Mode"] for function in functions} == {mode}


def test_with_a_key_everything_that_is_stored_is_encrypted_with_it(everything: Deployed) -> None:
    for group in everything.of_type("AWS::Logs::LogGroup").values():
        assert group["KmsKeyId"] == KEY
    for function in everything.of_type("AWS::Lambda::Function").values():
        assert function["KmsKeyArn"] == KEY
    for table in everything.of_type("AWS::DynamoDB::Table").values():
        assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    for queue in everything.of_type("AWS::SQS::Queue").values():
        assert (queue["KmsMasterKeyId"], queue["SqsManagedSseEnabled"]) == (KEY, False)


def test_without_a_key_everything_is_encrypted_with_those_of_aws(default: Deployed) -> None:
    assert "kms" not in json.dumps(default.resources["LogGroup"]).lower()
    assert [one for one in default.of_type("AWS::Lambda::Function").values() if "KmsKeyArn" in one] == []
    tables = default.of_type("AWS::DynamoDB::Table")
    assert {name: table.get("SSESpecification") for name, table in tables.items()} == {
        "StateTable": None,
        "KeysTable": None,
        "AnswersTable": {"SSEEnabled": True},
    }
    queues = default.of_type("AWS::SQS::Queue").values()
    assert [(queue.get("KmsMasterKeyId"), queue["SqsManagedSseEnabled"]) for queue in queues] == [(None, True)] * 2


def test_each_condition_is_true_with_everything_on_so_that_no_resource_escapes_the_tests(
    everything: Deployed,
) -> None:
    template = json.loads(everything.text)
    resolvers = [
        Resolver(template, attributes={}, pseudo=PSEUDO, parameters=parameters)
        for parameters in (EVERYTHING, EVERYTHING_PUBLIC)
    ]
    never = [
        name
        for name in template["Conditions"]
        if not any(resolver.condition(name, f"Conditions.{name}") for resolver in resolvers)
    ]
    assert never == []


@pytest.mark.parametrize(
    ("switch", "expected"), [("everything", {EVERYTHING["PermissionsBoundaryArn"]}), ("default", {None})]
)
def test_every_role_has_the_boundary(switch: str, expected: set[str | None], request: pytest.FixtureRequest) -> None:
    """Those of the schedules, too."""
    roles = request.getfixturevalue(switch).of_type("AWS::IAM::Role").values()
    assert {role.get("PermissionsBoundary") for role in roles} == expected


def test_scheduler_may_use_its_role_for_schedules_of_this_account_only(default: Deployed) -> None:
    trusting = {
        name: statement
        for name, role in default.of_type("AWS::IAM::Role").items()
        for statement in role["AssumeRolePolicyDocument"]["Statement"]
    }
    scheduler = trusting.pop("SchedulerRole")
    account, region = PSEUDO["AWS::AccountId"], PSEUDO["AWS::Region"]
    assert scheduler["Condition"] == {
        "StringEquals": {
            "aws:SourceAccount": account,
            "aws:SourceArn": f"arn:aws:scheduler:{region}:{account}:schedule-group/default",
        }
    }
    # The condition holds only while no schedule is in a group of its own.
    schedules = default.of_type("AWS::Scheduler::Schedule").values()
    assert [one for one in schedules if "GroupName" in one or one["Target"]["RoleArn"] != "<SchedulerRole.Arn>"] == []
    # Lambda passes a role only to functions of the account that has it, and knows no source of an assumption.
    assert {statement["Principal"]["Service"] for statement in trusting.values()} == {"lambda.amazonaws.com"}


def test_no_service_may_invoke_a_function_for_another_account(default: Deployed) -> None:
    permissions = default.of_type("AWS::Lambda::Permission")
    sources = {name: permission["SourceArn"] for name, permission in permissions.items()}
    of_this_account = f":{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:"
    assert [name for name, source in sources.items() if of_this_account not in source] == []
    assert [name for name, source in sources.items() if "<Api>" not in source and "<LogGroup>" not in source] == []


def test_the_description_of_a_version_has_room_for_the_longest_parameters(deployed: Callable[..., Deployed]) -> None:
    """Lambda takes 256 characters; a longer one fails the deployment."""
    longest = {
        "Revision": "r" * 20,
        "ChromaUrl": f"https://{'c' * 92}",
        "OpenAiKeySecret": "ssm:/sekha/".ljust(40, "o"),
        "ChromaTokenSecret": "ssm:/sekha/chroma".ljust(56, "o"),
        "LogLevel": "WARNING",
        "Architecture": "x86_64",
    }
    versions = deployed(EVERYTHING | longest).of_type("AWS::Lambda::Version").values()
    assert max(len(version["Description"]) for version in versions) <= 256
    assert all(version["Description"].endswith(",key") for version in versions)


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("KmsKeyArn", ["", KEY, KEY.replace("1234abcd-", "mrk-")], ["*", "alias/mine", KEY.replace("key/", "alias/")]),
        (
            "PermissionsBoundaryArn",
            ["", "arn:aws:iam::123456789012:policy/team/Boundary", "arn:aws:iam::aws:policy/PowerUserAccess"],
            ["*", "Boundary", "arn:aws:iam::123456789012:role/Boundary", "arn:aws:iam::123456789012:policy/*"],
        ),
    ],
)
def test_a_parameter_that_cannot_work_is_refused(parameter: str, good: list[str], bad: list[str]) -> None:
    pattern = re.compile(TEMPLATE.parameters[parameter]["AllowedPattern"])
    assert [value for value in good if not pattern.match(value)] == []
    assert [value for value in bad if pattern.match(value)] == []
