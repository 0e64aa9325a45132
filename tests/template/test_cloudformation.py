"""The stack as CloudFormation creates, updates and deletes it, by moto over HTTP, as far as moto can (`on_moto`).

What it cannot show: whether AWS accepts a property, and when it rolls back or replaces a resource. moto's updates create
nothing whose condition becomes true: `test_limits` looks at conditions.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from tests.template.cloudformation import Template
from tests.template.deployed import Deployed, deploy
from tests.template.on_moto import NOT_IN_MOTO, for_moto

pytestmark = pytest.mark.sam

REGION = "eu-west-1"
STACK = "bridge"
TEMPLATE = "https://s3.amazonaws.com/bucket/template"
NEW_CODE = "s3://bucket/new-code"


class State(NamedTuple):
    """What there is after one step. `resources`: logical id → physical id. `levels` and `versions` are those of each
    function: its log level, and its published versions.
    """

    status: str
    resources: dict[str, str]
    levels: set[str]
    versions: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Account:
    """An account of moto's."""

    session: boto3.Session
    url: str

    def client(self, service: str) -> Any:
        once = Config(retries={"total_max_attempts": 1}, read_timeout=120)
        return self.session.client(service, endpoint_url=self.url, config=once)  # type: ignore[call-overload]  # any service

    def create(self, template: Deployed) -> State:
        return self._apply("create_stack", template, {})

    def update(self, template: Deployed, **parameters: str) -> State:
        return self._apply("update_stack", template, parameters)

    def _apply(self, call: str, template: Deployed, parameters: Mapping[str, str]) -> State:
        """Puts the template where CloudFormation reads it, as `sam deploy` does, and runs one step."""
        text = for_moto(template.text, parameters)
        self.client("s3").put_object(Bucket="bucket", Key="template", Body=text.encode())
        values = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        getattr(self.client("cloudformation"), call)(
            StackName=STACK, TemplateURL=TEMPLATE, Parameters=values, Capabilities=["CAPABILITY_IAM"]
        )
        return self._state()

    def _state(self) -> State:
        cloudformation = self.client("cloudformation")
        found = cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
        # moto lists a resource whose condition is false without its id.
        resources = {
            one["LogicalResourceId"]: one.get("PhysicalResourceId", "") for one in found if "ResourceType" in one
        }
        functions = self.functions()
        return State(
            status=cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"],
            resources=resources,
            levels={one["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] for one in functions},
            versions={name: self._versions(name) for name in (one["FunctionName"] for one in functions)},
        )

    def functions(self) -> list[dict[str, Any]]:
        pages = self.client("lambda").get_paginator("list_functions").paginate()
        return [one for page in pages for one in page["Functions"]]

    def _versions(self, name: str) -> list[str]:
        found = self.client("lambda").list_versions_by_function(FunctionName=name)["Versions"]
        return [one["Version"] for one in found if one["Version"] != "$LATEST"]


class History(NamedTuple):
    """The states of one stack, in this order; the last step deletes it."""

    account: Account
    created: State
    with_log_level: State
    with_new_code: State


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    account = Account(boto3.Session("testing", "testing", region_name=REGION), f"http://{host}:{port}")
    s3 = account.client("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    for key in ("code", "new-code", "layer"):
        s3.put_object(Bucket="bucket", Key=key, Body=archive(key))
    yield account
    server.stop()


def archive(content: str) -> bytes:
    """Returns a ZIP file, as moto's Lambda reads it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        files.writestr("app.py", f"# {content}")
    return packed.getvalue()


@pytest.fixture(scope="module")
def history(account: Account, deployed: Callable[..., Deployed], sam_python: Path) -> History:
    first, (second,) = deployed(), deploy(sam_python, [{}], code=NEW_CODE)
    states = [
        account.create(first),
        account.update(first, LogLevel="DEBUG"),
        account.update(second, LogLevel="DEBUG"),
    ]
    account.client("cloudformation").delete_stack(StackName=STACK)
    return History(account, *states)


def test_the_stack_is_created_with_every_resource_that_moto_knows(
    history: History, deployed: Callable[..., Deployed]
) -> None:
    expected = {name for name, one in deployed().resources.items() if one["Type"] not in NOT_IN_MOTO}
    assert history.created.status == "CREATE_COMPLETE"
    assert history.created.resources.keys() == expected


def test_only_what_the_template_uses_is_named_as_a_gap_of_moto(deployed: Callable[..., Deployed]) -> None:
    assert {one["Type"] for one in json.loads(deployed().text)["Resources"].values()} >= NOT_IN_MOTO.keys()


def test_every_function_has_one_published_version(history: History) -> None:
    assert len(history.created.versions) == len(Template().functions)
    assert set(map(tuple, history.created.versions.values())) == {("1",)}


def test_a_changed_parameter_changes_every_function_and_replaces_none(history: History) -> None:
    assert (history.created.levels, history.with_log_level.levels) == ({"INFO"}, {"DEBUG"})
    assert history.with_log_level.status == "UPDATE_COMPLETE"
    assert history.with_log_level.resources == history.created.resources


def test_new_code_publishes_a_second_version_of_every_function(history: History) -> None:
    assert {versions[-1] for versions in history.with_new_code.versions.values()} == {"2"}
    assert history.with_new_code.versions.keys() == history.created.versions.keys()


def test_tables_queues_and_the_log_group_survive_every_update(
    history: History, deployed: Callable[..., Deployed]
) -> None:
    kinds = ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Logs::LogGroup")
    names = [name for kind in kinds for name in deployed().of_type(kind)]
    for state in history[2:]:
        assert {name: state.resources[name] for name in names} == {
            name: history.created.resources[name] for name in names
        }


def test_the_deletion_keeps_the_keys_and_the_pending_vectors_and_deletes_the_rest(
    history: History, deployed: Callable[..., Deployed]
) -> None:
    account, resources = history.account, history.with_new_code.resources
    kept = {name for name, one in deployed().resources.items() if one.get("DeletionPolicy", "Delete") != "Delete"}
    assert kept >= {"KeysTable", "VectorQueue", "VectorDeadLetters"}
    tables = account.client("dynamodb").list_tables()["TableNames"]
    assert set(tables) == {resources[name] for name in kept & deployed().of_type("AWS::DynamoDB::Table").keys()}
    queues = account.client("sqs").list_queues()["QueueUrls"]
    assert {url.rpartition("/")[2] for url in queues} == {
        f"{name}.fifo" for name in kept & deployed().of_type("AWS::SQS::Queue").keys()
    }
    groups = account.client("logs").describe_log_groups()["logGroups"]
    assert {one["logGroupName"] for one in groups} == {
        resources[name] for name in kept & deployed().of_type("AWS::Logs::LogGroup").keys()
    }
    assert account.functions() == []
    assert account.client("iam").list_roles()["Roles"] == []
