"""DynamoDB's UpdateItem in the making: what changes, on what conditions."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

CONDITION_FAILED = "ConditionalCheckFailedException"
"""How DynamoDB calls it that nothing was written because a condition did not hold."""

Attributes = Mapping[str, Mapping[str, Any]]
"""DynamoDB's own form of an item: name → {type: value}."""


class Update:
    """An UpdateItem in the making. Every name goes through a placeholder: `state` is one of many reserved words."""

    def __init__(self, table: str, key: Attributes) -> None:
        self._fixed = {"TableName": table, "Key": key}
        self._names: dict[str, str] = {}
        self._values: dict[str, Mapping[str, Any]] = {}
        self._clauses: dict[str, list[str]] = {}
        self._conditions: list[str] = []

    def setting(self, attributes: Attributes) -> Self:
        """Each attribute gets its value."""
        for name, value in attributes.items():
            self._clause("SET", f"{self._name(name)} = {self._value(f'new_{name}', value)}")
        return self

    def removing(self, names: Iterable[str]) -> Self:
        """Each attribute goes."""
        for name in sorted(names):
            self._clause("REMOVE", self._name(name))
        return self

    def adding(self, name: str, number: int) -> Self:
        """The attribute grows by a number, from 0 where it is not there."""
        self._clause("ADD", f"{self._name(name)} {self._value(f'more_{name}', {'N': str(number)})}")
        return self

    def require(self, name: str, comparison: str, value: Mapping[str, Any]) -> Self:
        """Nothing is written unless the attribute compares so."""
        self._conditions.append(self._comparison(name, comparison, value))
        return self

    def require_absent(self, name: str) -> Self:
        """Nothing is written where the attribute is there."""
        self._conditions.append(f"attribute_not_exists({self._name(name)})")
        return self

    def require_present(self, name: str) -> Self:
        """Nothing is written where the attribute is not there."""
        self._conditions.append(f"attribute_exists({self._name(name)})")
        return self

    def require_absent_or(self, name: str, comparison: str, value: Mapping[str, Any]) -> Self:
        """Nothing is written unless the attribute is not there, or compares so."""
        is_so = self._comparison(name, comparison, value)
        self._conditions.append(f"({is_so} OR attribute_not_exists({self._name(name)}))")
        return self

    def payload(self) -> dict[str, Any]:
        """The request, as DynamoDB takes it; it answers with the item as it then is, or as it is instead."""
        expression = " ".join(f"{verb} {', '.join(parts)}" for verb, parts in self._clauses.items())
        conditions = {"ConditionExpression": " AND ".join(self._conditions)} if self._conditions else {}
        return {
            **self._fixed,
            **conditions,
            "UpdateExpression": expression,
            "ExpressionAttributeNames": self._names,
            **({"ExpressionAttributeValues": self._values} if self._values else {}),
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _comparison(self, name: str, comparison: str, value: Mapping[str, Any]) -> str:
        return f"{self._name(name)} {comparison} {self._value(f'old_{name}', value)}"

    def _clause(self, verb: str, part: str) -> None:
        self._clauses.setdefault(verb, []).append(part)

    def _name(self, name: str) -> str:
        self._names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, name: str, value: Mapping[str, Any]) -> str:
        self._values[f":{name}"] = value
        return f":{name}"
