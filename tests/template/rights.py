"""What the role of a function allows, and what Lambda and other services do in it by themselves."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tests.template.aws_calls import REGION, Call
from tests.template.deployed import Deployed

# What Lambda needs in a VPC. None of them can be limited to a resource that is known before.
VPC_ACTIONS = frozenset(
    f"ec2:{name}"
    for name in (
        *("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface"),
        *("AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"),
    )
)
_TRACE_ACTIONS = ("xray:PutTraceSegments", "xray:PutTelemetryRecords")
_LOG_ACTIONS = ("logs:CreateLogStream", "logs:PutLogEvents")
_KEY_ACTIONS = {"sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"), "sqs:ReceiveMessage": ("kms:Decrypt",)}


class Right(NamedTuple):
    """One action on one resource that a statement allows. `conditions` are (operator, key, allowed patterns)."""

    action: str
    resource: str
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def allows(self, call: Call) -> bool:
        is_named = self.action == call.action and fnmatchcase(call.resource, self.resource)
        return is_named and all(_is_met(*condition, call) for condition in self.conditions)


def _is_met(operator: str, key: str, patterns: tuple[str, ...], call: Call) -> bool:
    assert operator in {"ForAllValues:StringLike", "Null", "StringEquals", "StringLike"}, f"unknown operator {operator}"
    values = [value for name, value in call.context if name == key]
    if operator == "Null":
        return patterns == ("false" if values else "true",)
    is_met = all(any(fnmatchcase(value, pattern) for pattern in patterns) for value in values)
    return is_met and (bool(values) or operator.startswith("ForAllValues"))


def listed(value: Any) -> list[Any]:
    """Returns a list of what IAM lets be one value or a list."""
    return value if isinstance(value, list) else [value]


def resources_of(statement: dict[str, Any]) -> list[str]:
    """Returns the resources of a statement. A parameter with a list is one text here."""
    return [resource for text in listed(statement["Resource"]) for resource in text.split(",")]


def statements_of(deployed: Deployed, role: str) -> Iterator[dict[str, Any]]:
    """Yields every statement of a role: of the policies that it names, that name it, and that are its own."""
    policies = deployed.of_type("AWS::IAM::ManagedPolicy") | deployed.of_type("AWS::IAM::Policy")
    properties = deployed.of_type("AWS::IAM::Role")[role]
    named = {arn.strip("<>") for arn in properties.get("ManagedPolicyArns", [])}
    attached = named | {name for name, policy in policies.items() if f"<{role}>" in policy.get("Roles", [])}
    documents = [policies[name]["PolicyDocument"] for name in sorted(attached)]
    for document in [*documents, *(policy["PolicyDocument"] for policy in properties.get("Policies", []))]:
        yield from document["Statement"]


def rights_of(deployed: Deployed, function: str, effect: str = "Allow") -> set[Right]:
    """Returns all that the function's role allows; with the effect `Deny`, what it denies whatever is allowed."""
    role = deployed.of_type("AWS::Lambda::Function")[function]["Role"].strip("<>").removesuffix(".Arn")
    return {
        Right(action, resource, _conditions(statement))
        for statement in statements_of(deployed, role)
        if statement["Effect"] == effect
        for action in listed(statement["Action"])
        for resource in resources_of(statement)
    }


def _conditions(statement: dict[str, Any]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return tuple(
        (operator, key, tuple(listed(patterns)))
        for operator, keys in statement.get("Condition", {}).items()
        for key, patterns in keys.items()
    )


def implied_calls(deployed: Deployed, function: str, calls: Iterable[Call]) -> Iterator[Call]:
    """Yields what happens in the role of a function that makes these `calls`, but is not in its code."""
    properties = deployed.of_type("AWS::Lambda::Function")[function]
    group = properties["LoggingConfig"]["LogGroup"].strip("<>")
    yield from (Call(action, f"<{group}.Arn>") for action in _LOG_ACTIONS)
    if properties["TracingConfig"]["Mode"] == "Active":
        yield from (Call(action, "*") for action in _TRACE_ACTIONS)
    if "VpcConfig" in properties:
        yield from (Call(action, "*") for action in VPC_ACTIONS)
    for call in calls:
        yield from _uses_of_keys(deployed, call)


def _uses_of_keys(deployed: Deployed, call: Call) -> Iterator[Call]:
    """Yields what a service asks KMS for in the name of its caller.

    DynamoDB: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html; SQS:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
    """
    service = call.action.partition(":")[0]
    via = frozenset({("kms:ViaService", f"{service}.{REGION}.amazonaws.com")})
    properties = deployed.resources.get(call.resource.strip("<>").removesuffix(".Arn"), {}).get("Properties", {})
    if service == "dynamodb" and (key := properties.get("SSESpecification", {}).get("KMSMasterKeyId")):
        yield Call("kms:Decrypt", key, via)
    if service == "sqs" and (key := properties.get("KmsMasterKeyId")):
        yield from (Call(action, key, via) for action in _KEY_ACTIONS.get(call.action, ()))
    if service in {"ssm", "secretsmanager"} and (key := deployed.parameters.get("SecretsKeyArn")):
        yield Call("kms:Decrypt", key, via)
