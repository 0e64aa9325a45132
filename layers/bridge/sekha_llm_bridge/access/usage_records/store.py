"""What was used, in the state table: one item for each day, API key and model."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel
from sekha_llm_bridge.access.usage_records.log_batch import LogBatch, UsageKey
from sekha_llm_bridge.aws.state_table import (
    MAX_UPDATES_ONCE,
    Attributes,
    StateTable,
    Update,
    usage_batch_key,
    usage_key,
    usage_pk,
)
from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

KEPT_DAYS = 400
"""After so many days, DynamoDB deletes what was used: thirteen months can be compared."""

_MARKER_DAYS = 7  # Lambda repeats an event for 6 hours at most, CloudWatch Logs for 24
_MAX_QUERIES_AT_ONCE = 16


class UsageUnavailable(Exception):
    """The table does not answer, or answers with an error."""


class UsageRecord(NamedTuple):
    """What an API key has used of a model in a day."""

    key: UsageKey
    amounts: Amounts


class UsageStore:
    """Writes and reads usage. Both raise `UsageUnavailable`."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._clock = clock
        self._table = StateTable(table, connections, clock, error_type=UsageUnavailable)

    async def add(self, batch: LogBatch) -> bool:
        """Adds the amounts of a batch, unless they were added before; returns whether they were not. Safe to repeat,
        also after a failure. Sends one TransactWriteItems for each 24 items.
        """
        expires = self._clock.now() + timedelta(days=_MARKER_DAYS)
        is_new = False
        parts = split_into_batches(sorted(batch.used.items()), lambda _: 0, max_size=0, max_items=MAX_UPDATES_ONCE)
        for number, part in enumerate(parts):
            marker = usage_batch_key(f"{batch.id}.{number}")
            updates = [_update(key, amounts) for key, amounts in part]
            is_new |= await self._table.update_once(marker, updates, expires=expires)
        return is_new

    async def read(self, first: date, last: date, *, key_id: str | None = None) -> list[UsageRecord]:
        """Returns what was used from the first day to the last, both included: by one API key, or by all. Sends one
        Query for each day.
        """
        limit = asyncio.Semaphore(_MAX_QUERIES_AT_ONCE)

        async def query(day: date) -> list[Attributes]:
            async with limit:
                return await self._table.query(usage_pk(day.isoformat()), "" if key_id is None else f"{key_id}#")

        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return [record_of(item) for items in await asyncio.gather(*map(query, days)) for item in items]


def record_of(item: Mapping[str, Mapping[str, Any]]) -> UsageRecord:
    """Returns the record of an item."""
    day = item["pk"]["S"].removeprefix(usage_pk(""))
    model = UsedModel(item["provider_id"]["S"], item["model_id"]["S"])
    amounts = {name: int(item[name]["N"]) for name in Amounts._fields if name in item}
    return UsageRecord(UsageKey(day, item["key_id"]["S"], model), Amounts(**amounts))


def _update(key: UsageKey, amounts: Amounts) -> Update:
    model = key.model
    update = Update(usage_key(key.day, key.key_id, model.provider_id, model.model_id))
    update.set(
        {"key_id": {"S": key.key_id}, "provider_id": {"S": model.provider_id}, "model_id": {"S": model.model_id}}
    )
    update.expire_at(datetime.combine(date.fromisoformat(key.day), time(), UTC) + timedelta(days=KEPT_DAYS))
    for name, amount in amounts._asdict().items():
        if amount:
            update.add(name, amount)
    return update
