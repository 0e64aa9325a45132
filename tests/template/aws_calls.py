"""The actions of AWS that the functions of the template really ask for, each with what IAM looks at.

A request tells its function by the access key id that signed it: here, each function has one of its own.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from tests.fakes.dynamodb import RecordedRequest
from tests.fakes.provider import Received
from tests.template.deployed import PSEUDO

REGION = PSEUDO["AWS::Region"]
PREFIX = f"{REGION}:{PSEUDO['AWS::AccountId']}"
_SIGNED_BY = re.compile(r"Credential=([^/]*)/")
_NAME = re.compile(r"(\w+)-\d+(\.fifo)?")
# The actions of a transaction, which need their own permissions, and no other one.
_IN_TRANSACTION = {
    "Update": "UpdateItem",
    "Put": "PutItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
_MODEL_PATH = re.compile(r"/model/([^/]+)/([a-z-]+)")
_MODEL_ACTIONS = {
    "converse": "bedrock:InvokeModel",
    "converse-stream": "bedrock:InvokeModelWithResponseStream",
    "invoke": "bedrock:InvokeModel",
    "count-tokens": "bedrock:CountTokens",
}


class Call(NamedTuple):
    """One action that IAM allows or denies. `resource` is an ARN, `<LogicalId.Arn>` for a resource of the template.
    `context` are pairs of a condition key and a value, as in the context of a request.
    """

    action: str
    resource: str
    context: frozenset[tuple[str, str]] = frozenset()


def calls_of_requests(requests: Iterable[RecordedRequest]) -> Iterator[tuple[str, Call]]:
    """Yields function and call of each request to moto."""
    read = {"dynamodb": _of_dynamodb, "sqs": _of_sqs, "ssm": _of_ssm, "secretsmanager": _of_secrets_manager}
    for request in requests:
        for call in read[request.service](request.action, request.request):
            yield request.caller, call


def calls_of_bedrock(requests: Iterable[Received]) -> Iterator[tuple[str, Call]]:
    """Yields function and call of each request to the fake Bedrock."""
    for request in requests:
        caller = _SIGNED_BY.search(request.headers["authorization"])
        assert caller, "a request to Bedrock is signed"
        for call in _of_bedrock(request.path, request.body):
            yield caller[1], call


def _of_dynamodb(action: str, request: Mapping[str, Any]) -> Iterator[Call]:
    if action == "TransactWriteItems":
        for [(kind, item)] in map(dict.items, request["TransactItems"]):
            yield _on_table(_IN_TRANSACTION[kind], item["TableName"], [item["Key"]])
    elif action == "BatchGetItem":
        for table, read in request["RequestItems"].items():
            yield _on_table(action, table, read["Keys"])
    elif action == "Query":
        yield _on_table(action, request["TableName"], [{"pk": request["ExpressionAttributeValues"][":pk"]}])
    else:
        yield _on_table(action, request["TableName"], [request.get("Key") or request["Item"]])


def _on_table(action: str, table: str, keys: Iterable[Mapping[str, Any]]) -> Call:
    values = {(key.get("pk") or key["id"])["S"] for key in keys}
    return Call(f"dynamodb:{action}", _arn(table), frozenset(("dynamodb:LeadingKeys", value) for value in values))


def _of_sqs(action: str, request: Mapping[str, Any]) -> Iterator[Call]:
    yield Call(f"sqs:{action.removesuffix('Batch')}", _arn(request["QueueUrl"].rpartition("/")[2]))


def _of_ssm(action: str, request: Mapping[str, Any]) -> Iterator[Call]:
    for name in request.get("Names") or [request["Name"]]:
        yield Call(f"ssm:{action}", f"arn:aws:ssm:{PREFIX}:parameter{name}")


def _of_secrets_manager(action: str, request: Mapping[str, Any]) -> Iterator[Call]:
    ids = request.get("SecretIdList") or [request["SecretId"]]
    if action == "BatchGetSecretValue":  # which also needs the right to each secret
        yield Call(f"secretsmanager:{action}", "*")
    for id_ in ids:
        yield Call("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{PREFIX}:secret:{id_}-a1B2c3")


def _of_bedrock(path: str, body: Any) -> Iterator[Call]:
    if path.startswith("/foundation-models/"):
        yield Call("bedrock:GetFoundationModel", _model(path.rpartition("/")[2]))
        return
    found = _MODEL_PATH.fullmatch(path)
    assert found, f"an unknown path of Bedrock: {path}"
    yield Call(_MODEL_ACTIONS[found[2]], _model(found[1]))
    if "guardrailIdentifier" in json.dumps(body):
        guardrail = body["guardrailConfig"]["guardrailIdentifier"]
        yield Call("bedrock:ApplyGuardrail", f"arn:aws:bedrock:{PREFIX}:guardrail/{guardrail}")


def _model(quoted_id: str) -> str:
    return f"arn:aws:bedrock:{REGION}::foundation-model/{unquote(quoted_id)}"


def _arn(name: str) -> str:
    """Returns the ARN of a table or queue of the stand-in as the template writes it. Its name is the logical id and a
    number.
    """
    found = _NAME.fullmatch(name)
    assert found, f"not a resource of the template: {name}"
    return f"<{found[1]}.Arn>"
