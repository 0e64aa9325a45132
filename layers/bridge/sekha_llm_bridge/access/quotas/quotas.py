"""Reserves and settles what requests use of their quotas.

A request that a quota counts costs two writes: one reserves, one settles. A reservation is first tried as a blind
conditional update. Only where that fails is the account looked at: a new period has begun, a hold has lapsed, or there
is no room.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sekha_llm_bridge.access.quotas.account import Account, Counter, Hold, Quota, Shortage, name_of
from sekha_llm_bridge.access.quotas.store import Change, QuotaStore, QuotasUnavailable, WriteResult
from sekha_llm_bridge.clock import Clock

T = TypeVar("T")
_CALL_TIMEOUT_S = 0.5
_MAX_TRIES = 3  # of one write whose outcome is unknown
_MAX_RACES = 50  # writes of other instances between a read of the account and its replacement
_RETRY_PAUSE_S = 0.05


class Quotas:
    """The quotas of one bridge, over a store that all function instances share."""

    def __init__(self, store: QuotaStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def read(self, quota: Quota) -> Account:
        """Returns the account as it is now. Raises `QuotasUnavailable`."""
        account = await self._repeated(lambda: self._store.read(quota.owner))
        return account.at(self._clock.now(), quota)

    async def reserve(self, quota: Quota, name: str, hold: Hold, *, requests: int = 0) -> Account | Shortage:
        """Reserves what the quota counts of `hold`, under `name`, and counts `requests`. Returns the account, or the
        shortage that leaves it unchanged.

        Safe to repeat under the same name. Raises `QuotasUnavailable`; the hold may then exist, and lapses.
        """
        now, counted = self._clock.now(), quota.counted(hold)
        amounts = _amounts(quota, counted, requests)
        if any(amounts.get(counter, 0) > limit for counter, limit in quota.limits.items()):
            account = await self.read(quota)
            return account.shortage(amounts, quota, now) or account
        change = Change(
            amounts,
            periods={period: name_of(period, now) for period in quota.periods},
            maxima={c: limit - amounts[c] for c, limit in quota.limits.items() if amounts.get(c)},
            hold_name=name,
            hold=counted,
        )
        result = await self._repeated(lambda: self._store.change(quota.owner, change))
        for _ in range(_MAX_RACES):
            if result.is_written or name in result.account.holds:
                return result.account
            outcome = await self._reserve_after(result.account, quota, change)
            if isinstance(outcome, Shortage):
                return outcome
            result = outcome
        raise QuotasUnavailable("too many requests change the account at once")

    async def settle(self, quota: Quota, names: tuple[str, ...], reserved: Hold, spent: Hold) -> Account:
        """Ends the holds and corrects what is used from `reserved` to `spent`, of which the quota's part counts.

        Safe to repeat. Raises `QuotasUnavailable`; the holds then lapse.
        """
        due = _amounts(quota, quota.counted(spent), 0)
        held = _amounts(quota, quota.counted(reserved), 0)
        correction = Change({c: amount - held[c] for c, amount in due.items()}, ended=names)
        tries = _Tries()
        result = await self._repeated(lambda: self._store.change(quota.owner, correction), tries)
        if not result.is_written and tries.count == 1:  # the holds have lapsed, and nothing of them is counted
            return await self.count(quota, spent)
        return result.account

    async def release(self, quota: Quota, name: str, hold: Hold) -> None:
        """Ends a hold of which it is not known whether it was stored. Raises `QuotasUnavailable`."""
        held = _amounts(quota, quota.counted(hold), 0)
        change = Change({counter: -amount for counter, amount in held.items()}, ended=(name,))
        await self._repeated(lambda: self._store.change(quota.owner, change))

    async def count(self, quota: Quota, spent: Hold) -> Account:
        """Counts what was spent without a reservation. Raises `QuotasUnavailable`. A write whose answer was lost is not
        repeated blindly, because the version of the account has changed then, but may still be counted twice.
        """
        due = _amounts(quota, quota.counted(spent), 0)
        for _ in range(_MAX_RACES):
            seen = await self._repeated(lambda: self._store.read(quota.owner))
            after = seen.at(self._clock.now(), quota).added(due)
            result = await self._store.replace(quota.owner, seen, after)
            if result.is_written:
                return result.account
        raise QuotasUnavailable("too many requests change the account at once")

    async def _reserve_after(self, seen: Account, quota: Quota, change: Change) -> WriteResult | Shortage:
        """Reserves after a change that did not fit the account that was seen, or returns the shortage in it.

        The account is replaced only where a period has ended or a hold has lapsed; else another instance has made room.
        """
        now = self._clock.now()
        present = seen.at(now, quota)
        shortage = present.shortage(change.amounts, quota, now)
        if shortage is not None:
            return shortage
        if present == seen:
            again = change._replace(periods={period: present.periods[period] for period in quota.periods})
            return await self._repeated(lambda: self._store.change(quota.owner, again))
        after = present.added(change.amounts).with_hold(change.hold_name, change.hold)
        return await self._repeated(lambda: self._store.replace(quota.owner, seen, after))

    async def _repeated(self, call: Callable[[], Coroutine[Any, Any, T]], tries: "_Tries | None" = None) -> T:
        """Returns what the store answers; asks again where it fails."""
        tries = tries or _Tries()
        while True:
            tries.count += 1
            try:
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    return await call()
            except (QuotasUnavailable, TimeoutError) as exc:
                if tries.count >= _MAX_TRIES:
                    raise QuotasUnavailable(str(exc) or "the table did not answer in time") from exc
                await self._clock.sleep(_RETRY_PAUSE_S * tries.count)


class _Tries:
    """How often a call was made."""

    def __init__(self) -> None:
        self.count = 0


def _amounts(quota: Quota, counted: Hold, requests: int) -> dict[Counter, int]:
    counters = quota.counters
    amounts = {counter: amount for counter, amount in counted.amounts().items() if counter in counters}
    return amounts | ({Counter.REQUESTS: requests} if Counter.REQUESTS in counters else {})
