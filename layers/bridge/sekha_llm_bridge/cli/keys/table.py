"""The table of keys, as the operator's commands use it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sekha_llm_bridge.access.keys.key_text import is_handle, parse_key
from sekha_llm_bridge.access.keys.record import Attributes, KeyRecord, UnreadableRecord
from sekha_llm_bridge.cli.deployment import Deployment, aws_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_AROUND = " \t\r\n\"'`"  # spaces and quotes that were copied with a key
_BEARER = re.compile(r"(authorization:\s*)?bearer\s+", re.IGNORECASE)
_KEY_BEGINNING = "sk-"  # of this bridge's keys, and of those of most providers


class NoSuchKey(Exception):
    """No key, or more than one, is meant."""


class KeyEnded(Exception):
    """The key has expired or was revoked."""


class KeyChanged(Exception):
    """Another command has changed the key in the meantime."""

    def __init__(self) -> None:
        super().__init__("another command has changed this key in the meantime: run this one again")


class KeyTable:
    """Reads and writes the keys of a bridge. Methods raise `TableFailed`."""

    def __init__(self, deployment: Deployment) -> None:
        self._client: DynamoDBClient = deployment.dynamodb
        self._table = deployment.keys_table
        self._name = deployment.name

    def add(self, record: KeyRecord) -> None:
        """Writes a new record."""
        with self._errors():
            self._client.put_item(
                TableName=self._table, Item=record.as_attributes(), ConditionExpression="attribute_not_exists(id)"
            )

    def items(self) -> list[Attributes]:
        """Returns the items of all keys, in no order."""
        with self._errors():
            return list(self._scan())

    def handle_of(self, reference: str) -> str:
        """Returns the handle of the key that is meant by its handle, by its name, or by its text, also in quotes or as
        the value of the header `Authorization`.

        Raises `NoSuchKey` where no key has the name, or several have it.
        """
        text = _BEARER.sub("", reference.strip(_AROUND)).strip(_AROUND)
        if key := parse_key(text):
            return key.key_id
        if is_handle(text):
            return text
        found = sorted(str(item["id"]["S"]) for item in self.items() if item.get("name", {}).get("S") == reference)
        if len(found) == 1:
            return found[0]
        if found:
            raise NoSuchKey(f"{len(found)} keys have the name {_shown(reference)}: name one of {', '.join(found)}")
        raise NoSuchKey(f"no key has the handle or the name {_shown(reference)}; `sekha-bridge keys list` shows them")

    def existing_handle_of(self, reference: str) -> str:
        """Returns the handle of a key that is in the table, in any version's form. Raises `NoSuchKey`."""
        key_id = self.handle_of(reference)
        self._item(key_id)
        return key_id

    def read(self, reference: str) -> KeyRecord:
        """Returns the record of the key that is meant. Raises `NoSuchKey` and `UnreadableRecord`."""
        key_id = self.handle_of(reference)
        item = self._item(key_id)
        try:
            return KeyRecord.from_attributes(item)
        except UnreadableRecord as exc:
            raise UnreadableRecord(f"{key_id} was written by another version of the bridge: update this one") from exc

    def replace(self, before: KeyRecord, after: KeyRecord) -> None:
        """Writes the attributes that differ. Raises `KeyChanged` where one of them is no longer as before, or where the
        key was revoked in the meantime: it would look as if it had a new text that is valid.
        """
        old, new = before.as_attributes(), after.as_attributes()
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if not names:
            return
        sets = [f"#{name} = :new_{name}" for name in names if name in new]
        removes = [f"#{name}" for name in names if name not in new]
        as_before = sorted({*names, "revoked"})
        conditions = [
            f"#{name} = :old_{name}" if name in old else f"attribute_not_exists(#{name})" for name in as_before
        ]
        parts = [("SET", sets), ("REMOVE", removes)]
        self._update(
            before.key_id,
            " ".join(f"{verb} {', '.join(clauses)}" for verb, clauses in parts if clauses),
            condition=" AND ".join(["attribute_exists(id)", *conditions]),
            names={f"#{name}": name for name in as_before},
            values={
                **{f":new_{name}": new[name] for name in names if name in new},
                **{f":old_{name}": old[name] for name in as_before if name in old},
            },
        )

    def revoke(self, key_id: str, now: datetime) -> datetime:
        """Revokes a key, also one of another version's form. Returns when it was first revoked. Raises `NoSuchKey`."""
        try:
            item = self._update(
                key_id,
                "SET #revoked = if_not_exists(#revoked, :now)",
                condition="attribute_exists(id)",
                names={"#revoked": "revoked"},
                values={":now": {"S": now.astimezone(UTC).isoformat()}},
            )
        except KeyChanged as exc:
            raise _no_such(key_id) from exc
        return datetime.fromisoformat(item["revoked"]["S"])

    def _item(self, key_id: str) -> Attributes:
        with self._errors():
            answer = self._client.get_item(TableName=self._table, Key={"id": {"S": key_id}}, ConsistentRead=True)
        if "Item" not in answer:
            raise _no_such(key_id)
        return answer["Item"]

    def _update(
        self, key_id: str, expression: str, *, condition: str, names: dict[str, str], values: dict[str, Any]
    ) -> Attributes:
        with self._errors():
            try:
                return self._client.update_item(
                    TableName=self._table,
                    Key={"id": {"S": key_id}},
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                    ReturnValues="ALL_NEW",
                )["Attributes"]
            except self._client.exceptions.ConditionalCheckFailedException as exc:
                raise KeyChanged from exc

    def _scan(self) -> Iterator[Attributes]:
        for page in self._client.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True):
            yield from page["Items"]

    def _errors(self) -> Any:
        return aws_errors(f"the table of keys of {self._name}")


def _no_such(key_id: str) -> NoSuchKey:
    return NoSuchKey(f"there is no key {key_id}; `sekha-bridge keys list` shows all")


def _shown(reference: str) -> str:
    """Returns what the user has written, but no text that may be, or contain, a mistyped key."""
    return "that was given" if _KEY_BEGINNING in reference.lower() else reference.strip()
