"""Accounts in DynamoDB: one item of the state table for each owner.

    attribute                                  what it is
    day, month, tokens, requests, running      what is used, by counter
    day_of, month_of, minute_of                the period that is counted
    h<seconds in hex><random>                  a hold, as text: cost:tokens:running
    version                                    grows with every write

An item that was not written for two months belongs to a key that is no longer used, and expires.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sekha_llm_bridge.access.quotas.account import NO_HOLD, Account, Counter, Hold, Period
from sekha_llm_bridge.access.quotas.store import Change, QuotasUnavailable, WriteResult
from sekha_llm_bridge.aws.state_table import Attributes, StateTable, Update, quota_key
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

_VERSION = "version"
_EXPIRES_AFTER = timedelta(days=62)  # longer than any period


class DynamoQuotaStore:
    """A `QuotaStore` in a DynamoDB table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._clock = clock
        self._table = StateTable(table, connections, clock, error_type=QuotasUnavailable)

    async def read(self, owner: str) -> Account:
        """See `QuotaStore.read`. Sends one consistent BatchGetItem."""
        key = quota_key(owner)
        return _account((await self._table.read([key])).get(key, {}))

    async def change(self, owner: str, change: Change) -> WriteResult:
        """See `QuotaStore.change`. Sends one UpdateItem."""
        update = Update(quota_key(owner)).add(_VERSION, 1).expire_at(self._clock.now() + _EXPIRES_AFTER)
        for period, name in change.periods.items():
            update.require(period.value, "=", {"S": name})
        for counter, most in change.maxima.items():
            update.require_absent_or(counter.value, "<=", _number(most))
        for counter, amount in change.amounts.items():
            if amount:
                update.add(counter.value, amount)
        if change.hold != NO_HOLD:
            update.set({change.hold_name: _text(change.hold)}).require_absent(change.hold_name)
        if change.ended:
            update.remove(change.ended).require_present(change.ended[0])
        return await self._send(update)

    async def replace(self, owner: str, before: Account, after: Account) -> WriteResult:
        """See `QuotaStore.replace`. Sends one UpdateItem."""
        update = Update(quota_key(owner)).set({_VERSION: _number(before.version + 1)})
        update.set({counter.value: _number(amount) for counter, amount in after.used.items()})
        update.set({period.value: {"S": name} for period, name in after.periods.items()})
        update.set({name: _text(hold) for name, hold in after.holds.items() if name not in before.holds})
        update.remove(before.holds.keys() - after.holds.keys())
        update.expire_at(self._clock.now() + _EXPIRES_AFTER)
        if before.version:
            update.require(_VERSION, "=", _number(before.version))
        else:
            update.require_absent(_VERSION)
        return await self._send(update)

    async def _send(self, update: Update) -> WriteResult:
        result = await self._table.update(update)
        return WriteResult(result.is_written, _account(result.item))


def _account(item: Attributes) -> Account:
    """Raises `QuotasUnavailable` for an item that this version cannot read: its limits could not be kept."""
    try:
        return Account(
            used={counter: int(item[counter]["N"]) for counter in Counter if counter in item},
            periods={period: item[period]["S"] for period in Period if period in item},
            holds={name: _hold(value) for name, value in item.items() if _is_hold(name)},
            version=int(item[_VERSION]["N"]) if _VERSION in item else 0,
        )
    except (LookupError, ValueError, TypeError) as exc:
        raise QuotasUnavailable("the item of a quota has another form") from exc


def _is_hold(name: str) -> bool:
    return name.startswith("h") and name[1:].isalnum()


def _hold(value: Mapping[str, Any]) -> Hold:
    cost, tokens, running = map(int, value["S"].split(":"))
    return Hold(cost, tokens, running)


def _text(hold: Hold) -> Mapping[str, str]:
    return {"S": ":".join(map(str, hold))}


def _number(amount: int) -> Mapping[str, str]:
    return {"N": str(amount)}
