"""Each function may do what it does, and nothing else: its role against its requests to AWS.

The requests are those that its own code sends when `take_every_path` invokes it. What AWS does in its name without a
request of its code is in `rights.implied_calls`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.bedrock import FakeBedrock
from tests.fakes.chroma import chroma_server
from tests.fakes.dynamodb import DynamoDb
from tests.fakes.schema_answers import SchemaFollowingProvider
from tests.template.aws_calls import Call
from tests.template.deployed import Deployed
from tests.template.every_path import take_every_path
from tests.template.rights import VPC_ACTIONS, Right, implied_calls, listed, resources_of, rights_of, statements_of
from tests.template.running_functions import FOLDERS, RunningFunctions
from tests.template.switches import EVERYTHING

pytestmark = pytest.mark.sam

# Actions for which AWS knows no resources, so a policy can only name all of them. X-Ray:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html, Secrets Manager:
# …/list_awssecretsmanager.html (each secret needs GetSecretValue as well), interfaces in a VPC: …/list_amazonec2.html
WITHOUT_RESOURCES = {
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "secretsmanager:BatchGetSecretValue",
    *VPC_ACTIONS,
}
# Secrets are allowed by the prefix of their names, and models as the operator names them.
PREFIXES = ("parameter/sekha/*", "secret:sekha/*", "parameter/sekha/chroma*", "secret:sekha/chroma*")

Calls = dict[str, set[Call]]


@pytest.fixture(scope="module")
def calls(everything: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    """What each function asks AWS for."""
    folder = tmp_path_factory.mktemp("functions")
    with (
        DynamoDb() as aws,
        SchemaFollowingProvider() as fake,
        FakeBedrock(dimension=8) as bedrock,
        chroma_server(folder / "chroma") as chroma_url,
    ):
        functions = RunningFunctions(everything, aws, fake, bedrock, chroma_url, folder)
        take_every_path(functions)
        yield functions.calls()


def all_calls(deployed: Deployed, function: str, calls: Calls) -> set[Call]:
    own = calls.get(function, set())
    return own | set(implied_calls(deployed, function, own))


def denied(deployed: Deployed, function: str, calls: Calls) -> set[tuple[str, str]]:
    """What the function does without a right to it."""
    rights, denials = rights_of(deployed, function), rights_of(deployed, function, "Deny")
    done = all_calls(deployed, function, calls)
    return {
        call[:2]
        for call in done
        if not any(right.allows(call) for right in rights) or any(denial.allows(call) for denial in denials)
    }


def unused(deployed: Deployed, function: str, calls: Calls) -> set[tuple[str, str]]:
    """What the function may do, and never does."""
    done = all_calls(deployed, function, calls)
    return {right[:2] for right in rights_of(deployed, function) if not any(right.allows(call) for call in done)}


def with_statement(deployed: Deployed, policy: str, change: Callable[[dict[str, Any]], None]) -> Deployed:
    """Returns the template with another first statement in a policy."""
    resources = json.loads(json.dumps(deployed.resources))
    change(resources[policy]["Properties"]["PolicyDocument"]["Statement"][0])
    return replace(deployed, resources=resources)


def wide_statements(deployed: Deployed) -> list[str]:
    """What a role may do with more than what it names."""
    return [
        f"{role}: {action} on {resource}"
        for role in deployed.of_type("AWS::IAM::Role")
        for statement in statements_of(deployed, role)
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
        for resource in resources_of(statement)
        if "*" in action or ("*" in resource and not is_named(action, resource))
    ]


def is_named(action: str, resource: str) -> bool:
    is_alias = action.startswith("lambda:") and re.fullmatch(r"<\w+Function\.Arn>:\*", resource) is not None
    return (
        is_alias  # CodeDeploy names an alias, or a version of this one function
        or (action == "cloudwatch:DescribeAlarms" and resource.endswith(":alarm:*"))  # names of alarms are generated
        or resource == EVERYTHING["BedrockModels"]
        or resource.endswith(PREFIXES)
        or (resource == "*" and action in WITHOUT_RESOURCES)
    )


def test_a_role_names_its_actions_and_resources(deployed: Callable[..., Deployed], everything: Deployed) -> None:
    assert wide_statements(everything) == []
    assert wide_statements(deployed()) == []


def test_no_role_has_a_policy_of_aws_and_no_statement_allows_all_but_something(everything: Deployed) -> None:
    for role, properties in everything.of_type("AWS::IAM::Role").items():
        assert [arn for arn in properties.get("ManagedPolicyArns", []) if not arn.startswith("<")] == []
        assert [one for one in statements_of(everything, role) if not {"Action", "Resource"} <= one.keys()] == []


@pytest.mark.parametrize("function", FOLDERS)
def test_a_function_has_the_right_to_everything_that_it_does(function: str, everything: Deployed, calls: Calls) -> None:
    assert denied(everything, function, calls) == set()


@pytest.mark.parametrize("function", FOLDERS)
def test_a_function_does_everything_that_it_has_the_right_to(function: str, everything: Deployed, calls: Calls) -> None:
    assert unused(everything, function, calls) == set()


@pytest.mark.parametrize("function", FOLDERS)
def test_without_its_parameter_a_right_is_not_there(
    function: str, deployed: Callable[..., Deployed], everything: Deployed
) -> None:
    services = {right.action.partition(":")[0] for right in rights_of(deployed(), function)}
    assert services & {"kms", "xray", "bedrock"} == set()
    assert rights_of(deployed(), function) <= rights_of(everything, function)


def test_the_functions_share_no_role(everything: Deployed) -> None:
    roles = [function["Role"] for function in everything.of_type("AWS::Lambda::Function").values()]
    assert len(set(roles)) == len(roles) == len(FOLDERS)


def test_a_star_an_unused_right_and_a_missing_right_are_found(everything: Deployed, calls: Calls) -> None:
    """The tests above are able to fail."""
    wide = with_statement(everything, "KeysReadPolicy", lambda statement: statement.update(Action="dynamodb:*"))
    assert "AuthorizerFunctionRole: dynamodb:* on <KeysTable.Arn>" in wide_statements(wide)
    anywhere = with_statement(everything, "KeysReadPolicy", lambda statement: statement.update(Resource="*"))
    assert "AuthorizerFunctionRole: dynamodb:GetItem on *" in wide_statements(anywhere)
    more = with_statement(everything, "AnswersPolicy", lambda statement: statement["Action"].append("dynamodb:Scan"))
    assert unused(more, "ScoreFunction", calls) == {("dynamodb:Scan", "<AnswersTable.Arn>")}
    less = with_statement(
        everything, "AnswersPolicy", lambda statement: statement["Action"].remove("dynamodb:DeleteItem")
    )
    assert denied(less, "ScoreFunction", calls) == {("dynamodb:DeleteItem", "<AnswersTable.Arn>")}
    elsewhere = with_statement(
        everything,
        "UsageReadPolicy",
        lambda one: one["Condition"]["ForAllValues:StringLike"].update({"dynamodb:LeadingKeys": ["quota#*"]}),
    )
    assert denied(elsewhere, "UsageFunction", calls) == {("dynamodb:Query", "<StateTable.Arn>")}


def test_rare_requests_are_among_those_that_are_compared(calls: Calls) -> None:
    """A path that is no longer taken would make its right look unused, or its lack not be seen."""
    assert Call("sqs:SendMessage", "<VectorDeadLetters.Arn>") in calls["DrainFunction"]
    assert Call("sqs:ChangeMessageVisibility", "<VectorQueue.Arn>") in calls["DrainFunction"]
    lease = frozenset({("dynamodb:LeadingKeys", "migration")})
    assert Call("dynamodb:UpdateItem", "<StateTable.Arn>", lease) in calls["MigrateCollectionsFunction"]
    batch = frozenset({("dynamodb:LeadingKeys", "usage_batch#1-1")})
    assert {call.action for call in calls["UsageRecordsFunction"] - {batch}} == {"dynamodb:UpdateItem"}


def test_a_condition_of_another_kind_is_not_taken_for_met() -> None:
    right = Right("dynamodb:Query", "*", (("StringEquals", "dynamodb:LeadingKeys", ("a",)),))
    assert not right.allows(Call("dynamodb:Query", "<StateTable.Arn>"))
    assert right.allows(Call("dynamodb:Query", "<StateTable.Arn>", frozenset({("dynamodb:LeadingKeys", "a")})))
