"""The table of keys, as functions read it: one GetItem for each key."""

import asyncio
import os

from sekha_llm_bridge.access.keys.record import KeyRecord
from sekha_llm_bridge.access.keys.verifier import KeysUnavailable
from sekha_llm_bridge.aws.requests import AwsRequests, translate_errors
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

TABLE_VARIABLE = "KEYS_TABLE"
"""The environment variable with the table's name."""

_TIMEOUT_S = 1.0  # in all, with the role's credentials


class DynamoKeyStore:
    """A `KeyStore` in a DynamoDB table. A read takes at most `timeout_s`."""

    def __init__(self, table: str, connections: Connections, clock: Clock, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._table = table
        self._timeout_s = timeout_s
        self._aws = AwsRequests("dynamodb", "DynamoDB_20120810", connections, clock, timeout_s=timeout_s)

    async def read(self, key_id: str) -> KeyRecord | None:
        """See `KeyStore.read`.

        The read is consistent: a key that was made a moment ago would otherwise be unknown for as long as that is kept.
        """
        request = {"TableName": self._table, "Key": {"id": {"S": key_id}}, "ConsistentRead": True}
        with translate_errors("DynamoDB", KeysUnavailable):
            async with asyncio.timeout(self._timeout_s):
                answer = await self._aws.call("GetItem", request)
            item = answer.get("Item")
        return None if item is None else KeyRecord.from_attributes(item)


def key_store(connections: Connections, clock: Clock) -> DynamoKeyStore:
    """Returns the store of the table that `KEYS_TABLE` names. Raises `KeyError` where it is not set."""
    return DynamoKeyStore(os.environ[TABLE_VARIABLE], connections, clock)
