"""The tables of a bridge, for the commands of its operator: of the running local stack, or of a deployed stack.

The user needs the right to read and write these tables, and for a deployed stack `cloudformation:DescribeStacks`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sekha_llm_bridge.cli.running_stack import RunningStack, SeveralStacks, find_stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEYS_TABLE, _STATE_TABLE = "KEYS_TABLE", "STATE_TABLE"
_NO_KEYS = "none"  # the value of AUTH_MODE, and of the parameter AuthMode
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 5, 10
_NO_STACK = "no local stack runs: start one with `sekha-bridge up`, or name a deployed one with --stack"


class NoDeployment(Exception):
    """The options name no bridge whose tables can be used. The message says what to do."""


class TableFailed(Exception):
    """AWS cannot be reached, or has refused a request."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bridge with its tables. `name` is for messages. `needs_keys`: whether it accepts only requests with a key."""

    name: str
    keys_table: str
    state_table: str
    dynamodb: "DynamoDBClient" = field(repr=False)
    needs_keys: bool = True


def find_deployment(stack: str | None) -> Deployment:
    """Returns the deployed bridge whose CloudFormation stack has this name; without a name, the running local stack.

    Region and credentials of a deployed one are those of the AWS CLI: AWS_REGION, AWS_PROFILE, and so on. Raises
    `NoDeployment`, `TableFailed`, and `ModuleNotFoundError` where boto3 is not installed.
    """
    if find_spec("boto3") is None:  # asked first, so that a missing package is reported before anything else
        raise ModuleNotFoundError(name="boto3")
    return _deployed(stack) if stack else _local()


@contextmanager
def aws_errors(name: str) -> Iterator[None]:
    """Raises `TableFailed` for an error of AWS or of the connection to it. `name`: what was asked."""
    from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

    try:
        yield
    except NoRegionError:
        raise TableFailed(f"{name}: set AWS_REGION to its region") from None
    except (BotoCoreError, ClientError) as exc:
        raise TableFailed(f"{name}: {exc}") from exc


def _local() -> Deployment:
    try:
        stack = find_stack()
    except SeveralStacks as exc:
        raise NoDeployment(f"{exc}: end the others, or set SEKHA_LOCAL_STACKS to the folder `stacks` of one") from exc
    if stack is None:
        raise NoDeployment(_NO_STACK)
    return _of_local_stack(stack)


def _of_local_stack(stack: RunningStack) -> Deployment:
    import boto3

    variables = stack.variables
    if _KEYS_TABLE not in variables:
        raise NoDeployment(f"{stack} is of an older version, without a table of keys: start it again")
    session = boto3.Session("local", "local", region_name=variables["AWS_REGION"])
    url = variables["AWS_ENDPOINT_URL_DYNAMODB"]
    client = session.client("dynamodb", endpoint_url=url, config=_client_config())
    needs_keys = variables.get("AUTH_MODE") != _NO_KEYS
    return Deployment(str(stack), variables[_KEYS_TABLE], variables[_STATE_TABLE], client, needs_keys)


def _deployed(stack: str) -> Deployment:
    import boto3

    name = f"stack {stack}"
    with aws_errors(name):
        # boto3 itself reads AWS_DEFAULT_REGION only, unlike AWS's other SDKs.
        session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
        described = _described(session.client("cloudformation", config=_client_config()), stack)
        client = session.client("dynamodb", config=_client_config())
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}
    parameters = {one["ParameterKey"]: one.get("ParameterValue") for one in described.get("Parameters", ())}
    needs_keys = parameters.get("AuthMode") != _NO_KEYS
    try:
        return Deployment(name, outputs["KeysTableName"], outputs["StateTableName"], client, needs_keys)
    except KeyError as exc:
        raise NoDeployment(
            f"{name} has no output {exc.args[0]}: it is not this bridge, or an older version; deploy it again"
        ) from exc


def _described(cloudformation: Any, stack: str) -> Mapping[str, Any]:
    described: Mapping[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    return described


def _client_config() -> Any:
    from botocore.config import Config

    return Config(connect_timeout=_CONNECT_TIMEOUT_S, read_timeout=_READ_TIMEOUT_S, retries={"mode": "standard"})
