"""Provider records in DynamoDB: one item per provider, key `provider_id`.

An item that nothing has written to for a week is of a provider that is no longer configured, and vanishes.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any

from sekha_llm_bridge.aws import CONDITION_FAILED, Attributes, AwsError, AwsRequests, Update, kind_of
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.resilience.breaker import Breaker
from sekha_llm_bridge.resilience.item import (
    CHECK_ATTRIBUTES,
    breaker_attributes,
    breaker_of,
    check_attributes,
    record_of,
)
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import StoreUnavailable, WriteResult

_BATCH = 100  # keys in one BatchGetItem
_ROUNDS = 3  # unprocessed keys come back under load
_KEPT = timedelta(days=7)


class DynamoProviderStore:
    """A `ProviderStore` on a table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._aws = AwsRequests("dynamodb", "DynamoDB_20120810", connections, clock)

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `ProviderStore.read`: one BatchGetItem for each hundred providers."""
        with _translated():
            batches = [await self._items(batch) for batch in _batches(provider_ids)]
            return {item["provider_id"]["S"]: record_of(item) for items in batches for item in items}

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.add_failure`: one UpdateItem with ADD."""
        written = breaker_attributes(after)
        last = {name: written[name] for name in ("last_failure", "cause", "failure_source")}
        update = self._update(provider_id, before)
        return await self._write(update.adding("failure_count", 1).setting({**last, **self._expiry()}))

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.replace`: one UpdateItem of the attributes that differ."""
        old, new = breaker_attributes(before), breaker_attributes(after)
        update = self._update(provider_id, before)
        if before.lease is None:
            update.require_absent("lease_token")
        else:
            update.require("lease_token", "=", {"S": before.lease.token})
        if before.failure_count:
            update.require("failure_count", ">=", old["failure_count"])
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        return await self._write(update.setting({**changed, **self._expiry()}).removing(old.keys() - new.keys()))

    async def record_check(self, result: CheckResult) -> None:
        """See `ProviderStore.record_check`: one UpdateItem."""
        found = check_attributes(result)
        update = Update(self._table, _key(result.provider_id)).setting({**found, **self._expiry()})
        await self._write(update.removing(CHECK_ATTRIBUTES - found.keys()))

    def _update(self, provider_id: str, before: Breaker) -> Update:
        """A write that does nothing in another epoch. The first one may not have been written down."""
        update, epoch = Update(self._table, _key(provider_id)), {"N": str(before.epoch)}
        return update.require("epoch", "=", epoch) if before.epoch else update.require_absent_or("epoch", "=", epoch)

    async def _write(self, update: Update) -> WriteResult:
        with _translated():
            try:
                answer = await self._aws.call("UpdateItem", update.payload())
            except AwsError as exc:
                if exc.kind != CONDITION_FAILED:
                    raise
                return WriteResult(done=False, breaker=breaker_of(exc.fields.get("Item", {})))
            return WriteResult(done=True, breaker=breaker_of(answer["Attributes"]))

    async def _items(self, batch: list[str]) -> list[Attributes]:
        keys = [_key(provider_id) for provider_id in batch]
        wanted: Any = {self._table: {"Keys": keys, "ConsistentRead": True}}
        found: list[Attributes] = []
        for _ in range(_ROUNDS):
            answer = await self._aws.call("BatchGetItem", {"RequestItems": wanted})
            found += answer["Responses"].get(self._table, [])
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return found
        raise StoreUnavailable("DynamoDB left keys unprocessed")

    def _expiry(self) -> Attributes:
        return {"expires_at": {"N": str(int((self._clock.now() + _KEPT).timestamp()))}}


def _key(provider_id: str) -> Attributes:
    return {"provider_id": {"S": provider_id}}


def _batches(provider_ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(dict.fromkeys(provider_ids))
    while batch := list(islice(rest, _BATCH)):
        yield batch


@contextmanager
def _translated() -> Iterator[None]:
    """Whatever is not an answer is as good as none. The kind alone is told: messages may quote anything."""
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception as exc:  # no keys, a garbled answer, our own mistake: no request may fail because of the table
        raise StoreUnavailable(f"DynamoDB did not do as asked ({kind_of(exc)})") from exc
