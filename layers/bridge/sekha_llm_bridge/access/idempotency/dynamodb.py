"""Answer records in a DynamoDB table of their own, whose hash key is `id` and whose TTL attribute is `expires_at`."""

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sekha_llm_bridge.access.idempotency.record import AnswerRecord, RecordState, unix_ms, unix_s
from sekha_llm_bridge.access.idempotency.store import AnswersUnavailable
from sekha_llm_bridge.aws.requests import AwsError, AwsRequests, translate_errors
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

_TIMEOUT_S = 1.0  # in all, with the role's credentials
_CONDITION_FAILED = "ConditionalCheckFailedException"
# Every name is a placeholder, because `owner` and `state` are reserved words.
_IS_MINE = "#owner = :owner"
_MAY_CLAIM = (
    "attribute_not_exists(#id) OR #expires_at <= :now_s"
    f" OR (#state = :under_way AND ({_IS_MINE} OR #lease_ends_at_ms <= :now_ms))"
)


class DynamoAnswerStore:
    """See `AnswerStore`. A request takes at most `timeout_s`."""

    def __init__(self, table: str, connections: Connections, clock: Clock, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._table = table
        self._timeout_s = timeout_s
        self._aws = AwsRequests("dynamodb", "DynamoDB_20120810", connections, clock, timeout_s=timeout_s)

    async def claim(self, record: AnswerRecord, now: datetime) -> bool:
        """See `AnswerStore`."""
        condition = {
            "ConditionExpression": _MAY_CLAIM,
            "ExpressionAttributeNames": _names("id", "owner", "expires_at", "state", "lease_ends_at_ms"),
            "ExpressionAttributeValues": {
                ":owner": {"S": record.owner},
                ":now_s": _number(unix_s(now)),
                ":under_way": {"S": RecordState.UNDER_WAY},
                ":now_ms": _number(unix_ms(now)),
            },
        }
        return await self._write("PutItem", {"Item": _attributes(record), **condition})

    async def read(self, record_id: str) -> AnswerRecord | None:
        """See `AnswerStore`."""
        with translate_errors("DynamoDB", AnswersUnavailable):
            request = {"TableName": self._table, "Key": {"id": {"S": record_id}}, "ConsistentRead": True}
            async with asyncio.timeout(self._timeout_s):
                answer = await self._aws.call("GetItem", request)
            return _record(answer["Item"]) if "Item" in answer else None

    async def finish(self, record: AnswerRecord) -> bool:
        """See `AnswerStore`."""
        request = {"Item": _attributes(record), **_only_of(record.owner)}
        return await self._write("PutItem", request)

    async def remove(self, record_id: str, owner: str) -> None:
        """See `AnswerStore`."""
        await self._write("DeleteItem", {"Key": {"id": {"S": record_id}}, **_only_of(owner)})

    async def _write(self, action: str, request: Mapping[str, Any]) -> bool:
        """Sends one conditional write. Returns whether its condition was met."""
        with translate_errors("DynamoDB", AnswersUnavailable):
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._aws.call(action, {"TableName": self._table, **request})
            except AwsError as exc:
                if exc.kind != _CONDITION_FAILED:
                    raise
                return False
        return True


def _only_of(owner: str) -> dict[str, Any]:
    return {
        "ConditionExpression": _IS_MINE,
        "ExpressionAttributeNames": _names("owner"),
        "ExpressionAttributeValues": {":owner": {"S": owner}},
    }


def _names(*names: str) -> dict[str, str]:
    return {f"#{name}": name for name in names}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _attributes(record: AnswerRecord) -> dict[str, dict[str, str]]:
    """Returns the item in DynamoDB's own form, in which bytes are base64 (and are stored as bytes)."""
    return {
        "id": {"S": record.id},
        "owner": {"S": record.owner},
        "request_hash": {"S": record.request_hash},
        "state": {"S": record.state},
        "lease_ends_at_ms": _number(record.lease_ends_at_ms),
        "expires_at": _number(record.expires_at_s),
        **({"answer": {"B": base64.b64encode(record.sealed).decode()}} if record.sealed else {}),
    }


def _record(item: Mapping[str, Mapping[str, str]]) -> AnswerRecord:
    return AnswerRecord(
        id=item["id"]["S"],
        owner=item["owner"]["S"],
        request_hash=item["request_hash"]["S"],
        state=RecordState(item["state"]["S"]),
        lease_ends_at_ms=int(item["lease_ends_at_ms"]["N"]),
        expires_at_s=int(item["expires_at"]["N"]),
        sealed=base64.b64decode(item["answer"]["B"]) if "answer" in item else b"",
    )
