"""Provider records in DynamoDB: one item of the state table for each provider.

A field that is None has no attribute. A record that cannot be parsed, because another version wrote it, is treated as
missing, so that the other records can still be read. An item that was not written for a week belongs to a provider
that is no longer configured, and expires.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sekha_llm_bridge.aws.state_table import Attributes, StateTable, Update, provider_key
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.resilience.breaker import Breaker, BreakerState, CheckTrust, Lease, PermitSource
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import StoreUnavailable, WriteResult

T = TypeVar("T")
_EXPIRES_AFTER = timedelta(days=7)
_CHECK_ATTRIBUTES = frozenset(
    {"check_healthy", "check_ms", "checked_at", "check_error", "check_conclusive", "check_unusable"}
)


class DynamoProviderStore:
    """A `ProviderStore` in a DynamoDB table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._clock = clock
        self._table = StateTable(table, connections, clock, error_type=StoreUnavailable)

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `ProviderStore.read`. Sends one BatchGetItem for each hundred providers."""
        keys = {provider_key(provider_id): provider_id for provider_id in provider_ids}
        items = await self._table.read(keys)
        return {keys[key]: _record(keys[key], item) for key, item in items.items()}

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.add_failure`. Sends one UpdateItem with ADD."""
        attributes = _breaker_attributes(after)
        last_failure = {name: attributes[name] for name in ("last_failure", "cause", "failure_source")}
        return await self._write(provider_id, _update(provider_id, before).add("failure_count", 1).set(last_failure))

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.replace`. Sends one UpdateItem with the attributes that differ."""
        old, new = _breaker_attributes(before), _breaker_attributes(after)
        update = _update(provider_id, before)
        if before.lease is None:
            update.require_absent("lease_token")
        else:
            update.require("lease_token", "=", {"S": before.lease.token})
        if before.failure_count:
            update.require("failure_count", ">=", old["failure_count"])
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        return await self._write(provider_id, update.set(changed).remove(old.keys() - new.keys()))

    async def record_check(self, result: CheckResult) -> None:
        """See `ProviderStore.record_check`. Sends one UpdateItem."""
        attributes = _check_attributes(result)
        update = Update(provider_key(result.provider_id)).set(attributes)
        await self._write(result.provider_id, update.remove(_CHECK_ATTRIBUTES - attributes.keys()))

    async def _write(self, provider_id: str, update: Update) -> WriteResult:
        result = await self._table.update(update.expire_at(self._clock.now() + _EXPIRES_AFTER))
        breaker = _parse_or_none(_breaker, provider_id, result.item) or Breaker()
        return WriteResult(is_written=result.is_written, breaker=breaker)


def _update(provider_id: str, before: Breaker) -> Update:
    """Returns an update that requires the epoch of `before`. An item that has only a check has no epoch yet."""
    update, epoch = Update(provider_key(provider_id)), {"N": str(before.epoch)}
    return update.require("epoch", "=", epoch) if before.epoch else update.require_absent_or("epoch", "=", epoch)


def _record(provider_id: str, item: Attributes) -> ProviderRecord:
    check = _parse_or_none(_check, provider_id, item)
    return ProviderRecord(check, _parse_or_none(_breaker, provider_id, item) or Breaker())


def _check_attributes(result: CheckResult) -> Attributes:
    attributes: dict[str, Mapping[str, Any]] = {
        "check_healthy": {"BOOL": result.is_healthy},
        "checked_at": {"S": result.checked_at.isoformat()},
        "check_conclusive": {"BOOL": result.is_conclusive},
    }
    if result.latency_ms is not None:
        attributes["check_ms"] = {"N": str(result.latency_ms)}
    if result.error is not None:
        attributes["check_error"] = {"S": result.error}
    if result.unusable_because is not None:
        attributes["check_unusable"] = {"S": result.unusable_because}
    return attributes


def _breaker_attributes(breaker: Breaker) -> Attributes:
    numbers = {"epoch": breaker.epoch, "failure_count": breaker.failure_count, "success_count": breaker.success_count}
    texts = {
        "state": breaker.state,
        "cause": breaker.cause,
        "failure_source": breaker.failure_source,
        "check_trust": breaker.check_trust,
    }
    moments = {"retry_at": breaker.retry_at, "last_failure": breaker.last_failure}
    if breaker.lease is not None:
        texts["lease_token"] = breaker.lease.token
        moments["lease_until"] = breaker.lease.until
    texts |= {name: moment.isoformat() for name, moment in moments.items() if moment is not None}
    return {
        **{name: {"N": str(number)} for name, number in numbers.items()},
        **{name: {"S": str(text)} for name, text in texts.items()},
    }


def _parse_or_none(parse: Callable[[str, Attributes], T], provider_id: str, item: Attributes) -> T | None:
    try:
        return parse(provider_id, item)
    except (KeyError, TypeError, ValueError) as exc:
        logger().warning("unreadable provider record", extra={"provider": provider_id, "kind": type(exc).__name__})
        return None


def _check(provider_id: str, item: Attributes) -> CheckResult | None:
    if "checked_at" not in item:
        return None
    return CheckResult(
        provider_id=provider_id,
        is_healthy=item["check_healthy"]["BOOL"],
        latency_ms=_number(item, "check_ms") if "check_ms" in item else None,
        checked_at=datetime.fromisoformat(item["checked_at"]["S"]),
        error=_text(item, "check_error"),
        is_conclusive=item["check_conclusive"]["BOOL"],
        unusable_because=_text(item, "check_unusable"),
    )


def _breaker(_provider_id: str, item: Attributes) -> Breaker:
    token = _text(item, "lease_token")
    until = _moment(item, "lease_until")
    return Breaker(
        state=BreakerState(_text(item, "state") or BreakerState.CLOSED),
        epoch=_number(item, "epoch"),
        failure_count=_number(item, "failure_count"),
        success_count=_number(item, "success_count"),
        retry_at=_moment(item, "retry_at"),
        lease=Lease(token, until) if token and until else None,
        last_failure=_moment(item, "last_failure"),
        cause=_text(item, "cause") or "",
        failure_source=PermitSource(_text(item, "failure_source") or PermitSource.REQUEST),
        check_trust=CheckTrust(_text(item, "check_trust") or CheckTrust.TRUSTED),
    )


def _text(item: Attributes, name: str) -> str | None:
    return item[name]["S"] if name in item else None


def _number(item: Attributes, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0


def _moment(item: Attributes, name: str) -> datetime | None:
    text = _text(item, name)
    return datetime.fromisoformat(text) if text else None
