"""The DynamoDB table of the bridge's state: its keys and its requests.

An item's key has two strings: `pk` names the owner of the item, `sk` the kind of item, or its period.

    pk               sk        item
    provider#<id>    state     last check and circuit breaker of a provider (expires)
    provider#<id>    models    the models that a provider with `models: auto` has (expires)
    deferred_writes  counts    number of queued records of each collection
    migration        lease     holder of the migration's lease
    quota#<owner>    account   what an API key, or the whole bridge, has used and reserved (expires)
    usage#<day>      <key id>#<provider id>/<model id>  what was used in a day (expires)
    usage_batch#<id> counted   a batch of log lines that was counted (expires)

A new kind of item gets a prefix of its own. The attribute `expires_at` is the table's TTL, in epoch seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from sekha_llm_bridge.aws.requests import AwsError, AwsRequests, translate_errors
from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

Attributes = Mapping[str, Mapping[str, Any]]
"""An item in DynamoDB's own form: name → {type: value}."""

_MAX_KEYS = 100  # in one BatchGetItem
_MAX_READS = 3  # of one batch: DynamoDB leaves keys unprocessed under load
MAX_UPDATES_ONCE = 24
"""The most updates of one `update_once`. TransactWriteItems takes 100 actions, but the more items a transaction has,
the more likely it is refused because another one writes the same item.
"""

_CONDITION_FAILED = "ConditionalCheckFailedException"
_TRANSACTION_CANCELLED = "TransactionCanceledException"


class ItemKey(NamedTuple):
    """The key of an item."""

    pk: str
    sk: str

    @property
    def attributes(self) -> Attributes:
        """The key in DynamoDB's own form."""
        return {"pk": {"S": self.pk}, "sk": {"S": self.sk}}


PENDING_WRITES = ItemKey("deferred_writes", "counts")
MIGRATION_LEASE = ItemKey("migration", "lease")


def provider_key(provider_id: str) -> ItemKey:
    """Returns the key of a provider's item."""
    return ItemKey(f"provider#{provider_id}", "state")


def model_list_key(provider_id: str) -> ItemKey:
    """Returns the key of the list of a provider's models."""
    return ItemKey(f"provider#{provider_id}", "models")


def usage_pk(day: str) -> str:
    """Returns the partition key of what was used in a day."""
    return f"usage#{day}"


def usage_key(day: str, key_id: str, provider_id: str, model_id: str) -> ItemKey:
    """Returns the key of what an API key has used of a model in a day. `key_id` is empty where no keys are needed."""
    return ItemKey(usage_pk(day), f"{key_id}#{provider_id}/{model_id}")


def usage_batch_key(batch_id: str) -> ItemKey:
    """Returns the key of the marker of a batch of log lines."""
    return ItemKey(f"usage_batch#{batch_id}", "counted")


def quota_key(owner: str) -> ItemKey:
    """Returns the key of an owner's account."""
    return ItemKey(f"quota#{owner}", "account")


class Update:
    """An UpdateItem request. Every attribute name is a placeholder, because names such as `state` are reserved words.

    The conditions are combined with AND. If they are not met, nothing is written.
    """

    def __init__(self, key: ItemKey) -> None:
        self._key = key
        self._names: dict[str, str] = {}
        self._values: dict[str, Mapping[str, Any]] = {}
        self._clauses: dict[str, list[str]] = {}
        self._conditions: list[str] = []

    def set(self, attributes: Attributes) -> Self:
        """Sets each attribute to its value."""
        for name, value in attributes.items():
            self._add_clause("SET", f"{self._name(name)} = {self._value(f'new_{name}', value)}")
        return self

    def remove(self, names: Iterable[str]) -> Self:
        """Removes the attributes."""
        for name in sorted(names):
            self._add_clause("REMOVE", self._name(name))
        return self

    def add(self, name: str, number: int) -> Self:
        """Adds a number to an attribute; a missing attribute counts as 0."""
        self._add_clause("ADD", f"{self._name(name)} {self._value(f'added_{name}', {'N': str(number)})}")
        return self

    def expire_at(self, moment: datetime) -> Self:
        """Lets DynamoDB delete the item some time after this moment."""
        return self.set({"expires_at": {"N": str(int(moment.timestamp()))}})

    def require(self, name: str, comparison: str, value: Mapping[str, Any]) -> Self:
        """Requires that the attribute exists and compares so, for example `">=", {"N": "1"}`."""
        self._conditions.append(self._comparison(name, comparison, value))
        return self

    def require_absent(self, name: str) -> Self:
        """Requires that the attribute does not exist."""
        self._conditions.append(f"attribute_not_exists({self._name(name)})")
        return self

    def require_present(self, name: str) -> Self:
        """Requires that the attribute exists."""
        self._conditions.append(f"attribute_exists({self._name(name)})")
        return self

    def require_absent_or(self, name: str, comparison: str, value: Mapping[str, Any]) -> Self:
        """Requires that the attribute does not exist or compares so."""
        compared = self._comparison(name, comparison, value)
        self._conditions.append(f"({compared} OR attribute_not_exists({self._name(name)}))")
        return self

    def payload(self, table: str) -> dict[str, Any]:
        """Returns the request. DynamoDB answers it with the whole item, whether it was written or not."""
        returned = {"ReturnValues": "ALL_NEW", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {**self.action(table), **returned}

    def action(self, table: str) -> dict[str, Any]:
        """Returns the update as a part of a transaction."""
        conditions = {"ConditionExpression": " AND ".join(self._conditions)} if self._conditions else {}
        return {
            "TableName": table,
            "Key": self._key.attributes,
            **conditions,
            "UpdateExpression": " ".join(f"{verb} {', '.join(parts)}" for verb, parts in self._clauses.items()),
            "ExpressionAttributeNames": self._names,
            **({"ExpressionAttributeValues": self._values} if self._values else {}),
        }

    def _comparison(self, name: str, comparison: str, value: Mapping[str, Any]) -> str:
        return f"{self._name(name)} {comparison} {self._value(f'old_{name}', value)}"

    def _add_clause(self, verb: str, part: str) -> None:
        self._clauses.setdefault(verb, []).append(part)

    def _name(self, name: str) -> str:
        self._names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, name: str, value: Mapping[str, Any]) -> str:
        self._values[f":{name}"] = value
        return f":{name}"


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """Whether the conditions were met and the update was written, and the item after the request."""

    is_written: bool
    item: Attributes


class StateTable:
    """Reads and updates items of one table.

    Methods raise `error_type` for every failure. A failed request is not repeated.
    """

    def __init__(self, name: str, connections: Connections, clock: Clock, *, error_type: type[Exception]) -> None:
        self._name = name
        self._error_type = error_type
        self._aws = AwsRequests("dynamodb", "DynamoDB_20120810", connections, clock)

    async def read(self, keys: Iterable[ItemKey]) -> dict[ItemKey, Attributes]:
        """Returns the items that exist, read consistently. Sends one BatchGetItem for each hundred keys."""
        found: dict[ItemKey, Attributes] = {}
        unique = list(dict.fromkeys(keys))
        with translate_errors("DynamoDB", self._error_type):
            for batch in split_into_batches(unique, lambda _: 0, max_size=0, max_items=_MAX_KEYS):
                for item in await self._read_batch(batch):
                    found[ItemKey(item["pk"]["S"], item["sk"]["S"])] = item
        return found

    async def update(self, update: Update) -> UpdateResult:
        """Sends one UpdateItem."""
        with translate_errors("DynamoDB", self._error_type):
            try:
                answer = await self._aws.call("UpdateItem", update.payload(self._name))
            except AwsError as exc:
                if exc.kind != _CONDITION_FAILED:
                    raise
                return UpdateResult(is_written=False, item=dict(exc.fields.get("Item", {})))
            return UpdateResult(is_written=True, item=dict(answer["Attributes"]))

    async def update_once(self, marker: ItemKey, updates: Sequence[Update], *, expires: datetime) -> bool:
        """Sends all updates as one TransactWriteItems, together with an item that marks them as done until `expires`.
        Returns False, and writes nothing, where they were done before: so it is safe to repeat. At most
        MAX_UPDATES_ONCE.
        """
        mark = Update(marker).expire_at(expires).require_absent("pk")
        actions = [{"Update": update.action(self._name)} for update in (mark, *updates)]
        with translate_errors("DynamoDB", self._error_type):
            try:
                await self._aws.call("TransactWriteItems", {"TransactItems": actions})
            except AwsError as exc:
                if exc.kind == _TRANSACTION_CANCELLED and _was_done_before(exc):
                    return False
                raise
        return True

    async def query(self, pk: str, sk_prefix: str = "") -> list[Attributes]:
        """Returns the items of a partition whose sort key begins so, in order. Sends a Query for each MB."""
        names = {"#pk": "pk", **({"#sk": "sk"} if sk_prefix else {})}
        values = {":pk": {"S": pk}, **({":sk": {"S": sk_prefix}} if sk_prefix else {})}
        request: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": "#pk = :pk" + (" AND begins_with(#sk, :sk)" if sk_prefix else ""),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
        found: list[Attributes] = []
        with translate_errors("DynamoDB", self._error_type):
            while True:
                answer = await self._aws.call("Query", request)
                found += answer["Items"]
                if not (last := answer.get("LastEvaluatedKey")):
                    return found
                request["ExclusiveStartKey"] = last

    async def _read_batch(self, keys: Iterable[ItemKey]) -> list[Attributes]:
        request: Any = {self._name: {"Keys": [key.attributes for key in keys], "ConsistentRead": True}}
        found: list[Attributes] = []
        for _ in range(_MAX_READS):
            answer = await self._aws.call("BatchGetItem", {"RequestItems": request})
            found += answer["Responses"].get(self._name, [])
            request = answer.get("UnprocessedKeys")
            if not request:
                return found
        raise AwsError("UnprocessedKeys", {})


def _was_done_before(cancelled: AwsError) -> bool:
    """Whether the marker, which is the first action, is why the transaction was cancelled."""
    first = (cancelled.fields.get("CancellationReasons") or [{}])[0]
    return bool(first.get("Code") == "ConditionalCheckFailed")
