"""Lists of models in DynamoDB: one item of the state table for each provider, with the models as one JSON text.

A list that cannot be parsed, because another version wrote it, is empty, and so old that the next check writes it
anew. The item of a provider that is no longer configured expires.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from sekha_llm_bridge.aws.state_table import Attributes, StateTable, Update, model_list_key
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.model_lists.store import ListsUnavailable, ModelList
from sekha_llm_bridge.observability import logger

_EXPIRES_AFTER = timedelta(days=14)  # a list that did not change is written again after half of that
_DEFAULTS = FoundModel._field_defaults


class DynamoModelListStore:
    """A `ModelListStore` in a DynamoDB table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._clock = clock
        self._table = StateTable(table, connections, clock, error_type=ListsUnavailable)

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ModelList]:
        """See `ModelListStore.read`. Sends one BatchGetItem for each hundred providers."""
        keys = {model_list_key(provider_id): provider_id for provider_id in provider_ids}
        items = await self._table.read(keys)
        return {keys[key]: _list(keys[key], item) for key, item in items.items()}

    async def replace(self, provider_id: str, before: ModelList | None, models: Sequence[FoundModel]) -> bool:
        """See `ModelListStore.replace`. Sends one UpdateItem."""
        now, update = self._clock.now(), Update(model_list_key(provider_id))
        revision = 0 if before is None else before.revision
        if revision:
            update.require("revision", "=", {"N": str(revision)})
        else:
            update.require_absent("revision")
        attributes: Attributes = {
            "models": {"S": orjson.dumps([_row(model) for model in models]).decode()},
            "revision": {"N": str(revision + 1)},
            "written_at": {"S": now.isoformat()},
        }
        return (await self._table.update(update.set(attributes).expire_at(now + _EXPIRES_AFTER))).is_written


def _row(model: FoundModel) -> dict[str, Any]:
    return {name: value for name, value in model._asdict().items() if name == "name" or value != _DEFAULTS[name]}


def _list(provider_id: str, item: Attributes) -> ModelList:
    revision = int(item["revision"]["N"]) if "revision" in item else 0
    try:
        models = tuple(map(_model, orjson.loads(item["models"]["S"])))
        return ModelList(models, revision, datetime.fromisoformat(item["written_at"]["S"]))
    except (KeyError, TypeError, ValueError) as exc:
        logger().warning("unreadable list of models", extra={"provider": provider_id, "kind": type(exc).__name__})
    return ModelList((), revision, datetime.min.replace(tzinfo=UTC))


def _model(row: Mapping[str, Any]) -> FoundModel:
    known = {name: row[name] for name in FoundModel._fields if name in row}
    return FoundModel(**{**known, "capabilities": tuple(known.get("capabilities", ()))})
