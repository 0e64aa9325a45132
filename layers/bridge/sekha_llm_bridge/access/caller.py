"""The caller of a request, as the authorizer describes it: which key, and what that key may do.

The authorizer puts the caller into the context of the request's event, so that a function reads no table for it. API
Gateway's context holds texts, numbers and booleans only, so the policy is one JSON text.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge.config.vocabulary import Task

CONTEXT_FIELD = "caller"
"""The field of the authorizer's context that has the caller, as JSON."""

_MONEY = frozenset({"max_cost_per_request_usd", "daily_usd", "monthly_usd"})


class KeyPolicy(NamedTuple):
    """What a key may do. None means no limit; an empty tuple means all.

    `models` are names as in the configuration: `model`, `provider/model`, or `provider/*`. Amounts are in USD; days and
    months are those of UTC. `chroma_tenant` and `chroma_database` are where the key's vectors are; None means where the
    configuration says. `may_store`: whether its embeddings may be stored at all.
    """

    models: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    max_cost_per_request_usd: Decimal | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    daily_usd: Decimal | None = None
    monthly_usd: Decimal | None = None
    chroma_tenant: str | None = None
    chroma_database: str | None = None
    may_store: bool = True

    @property
    def has_rate_limits(self) -> bool:
        """Whether its requests are counted."""
        limits = (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests)
        return any(limit is not None for limit in limits)

    @property
    def has_budget(self) -> bool:
        """Whether its costs are counted."""
        return self.daily_usd is not None or self.monthly_usd is not None

    def as_json(self) -> dict[str, Any]:
        """Returns the fields that differ from the default; amounts as texts."""
        changed = {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}
        return {name: str(value) if name in _MONEY else value for name, value in changed.items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "KeyPolicy":
        """Returns the policy that `as_json` made. Unknown fields, of a newer version, raise `ValueError`: what they
        forbid is not known here.
        """
        if unknown := fields.keys() - set(cls._fields):
            raise ValueError(f"a key's policy has unknown fields: {', '.join(sorted(unknown))}")
        values = dict(fields)
        for name in _MONEY & values.keys():
            values[name] = Decimal(values[name])
        values["models"] = tuple(values.get("models", ()))
        values["tasks"] = tuple(Task(task) for task in values.get("tasks", ()))
        return cls(**values)


class Caller(NamedTuple):
    """Who sends a request. `key_id` is the handle of its API key, empty where the bridge needs no keys. `labels` are
    the key's own, for usage.
    """

    key_id: str = ""
    labels: Mapping[str, str] = MappingProxyType({})
    policy: KeyPolicy = KeyPolicy()

    def context_text(self) -> str:
        """Returns the text for the authorizer's context."""
        fields = {"key_id": self.key_id, "labels": dict(self.labels), "policy": self.policy.as_json()}
        return orjson.dumps(fields).decode()

    @classmethod
    def from_context_text(cls, text: str) -> "Caller":
        """Returns the caller that `context_text` describes. Raises `ValueError`."""
        try:
            fields = orjson.loads(text)
            return cls(fields["key_id"], fields["labels"], KeyPolicy.from_json(fields["policy"]))
        except (LookupError, TypeError) as exc:
            raise ValueError("the authorizer's context has another form") from exc


class BudgetLimit(NamedTuple):
    """A budget as the limit of one request: `usd` may be used of it. `owner_name` says whose it is, `fields` are the
    budget as callers see it.
    """

    usd: Decimal
    owner_name: str
    fields: Mapping[str, object]


ANYONE = Caller()
"""The caller of a bridge that needs no keys."""
