"""What one inbound request uses of the quotas of its caller and of the whole bridge.

Before each attempt its cost bound is reserved; at the end of the request all of it is settled by what it really cost.
An attempt that is covered by what the request has reserved already, because an earlier attempt cost less, writes
nothing. A request without a quota has no `RequestSpending`.
"""

import asyncio
import random
import string
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.access.quotas import (
    NO_HOLD,
    PICO_USD,
    Account,
    Counter,
    Hold,
    Quota,
    Quotas,
    QuotasUnavailable,
    Shortage,
    pico_usd,
)
from sekha_llm_bridge.access.quotas.account import hold_name, reserved_of
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import AccessUnavailable, KeyLimitExceeded
from sekha_llm_bridge.observability import Metric, count, logger

BRIDGE = "bridge"
"""The owner of the budget of the whole bridge."""

_BUDGETS = (Counter.DAY, Counter.MONTH)
_RETRY_AFTER_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # between two looks at a budget that others have reserved
_REPORTED_PERCENT = 80
_NAME_CHARACTERS = string.ascii_lowercase + string.digits
_NAME_LENGTH = 6
# The system's source, because environments that were restored from one snapshot share the state of any other.
_SYSTEM_RANDOM = random.SystemRandom()


class Need(NamedTuple):
    """What one attempt may need: a cost of at most `cost_usd`, and about `tokens`."""

    cost_usd: Decimal
    tokens: int


class BudgetShortage(NamedTuple):
    """A budget that has no room for an attempt. `left_usd` is what the attempt may cost at most, once the other
    requests under way have ended. `is_temporary`: then it has room.
    """

    shortage: Shortage
    left_usd: Decimal
    is_temporary: bool

    @property
    def owner_name(self) -> str:
        """Whose budget it is, in words."""
        return "the bridge" if self.shortage.owner == BRIDGE else f"the API key {self.shortage.owner}"

    def public(self) -> dict[str, object]:
        """Returns the budget as callers see it; amounts in USD."""
        short = self.shortage
        amounts = {
            "limit_usd": short.limit,
            "spent_usd": short.used - short.reserved,
            "reserved_usd": short.reserved,
            "left_usd": short.left,
            "needed_usd": short.needed,
        }
        return {
            "of": "bridge" if short.owner == BRIDGE else short.owner,
            "period": short.counter.value,
            **{name: float(amount / PICO_USD) for name, amount in amounts.items()},
            "renews_at": short.renews_at.isoformat() if short.renews_at else None,
        }


class _Reserved:
    """What the request has reserved of one quota."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.names: tuple[str, ...] = ()
        self.hold = NO_HOLD
        self.is_counted = False  # as one of the requests of this minute


class RequestSpending:
    """The reservations of one request. They lapse at `lapses` if the request never settles, so that must be after its
    deadline. `fails_open`: paid attempts go on when the table of the budgets does not answer.
    """

    def __init__(
        self,
        quotas: Quotas,
        owned: tuple[Quota, ...],
        *,
        clock: Clock,
        lapses: datetime,
        fails_open: bool,
        choose: Callable[[str], str] = _SYSTEM_RANDOM.choice,
    ) -> None:
        self._quotas = quotas
        self._reserved = [_Reserved(quota) for quota in owned]
        self._clock = clock
        self._lapses = lapses
        self._fails_open = fails_open
        self._choose = choose
        self._lock = asyncio.Lock()
        self._running = Need(Decimal(0), 0)

    async def reserve(self, need: Need, *, spent: Need, patience_s: float) -> BudgetShortage | None:
        """Reserves for an attempt, beside `spent` by earlier attempts and what runs at present. Where only requests
        under way leave no room, waits for them for up to `patience_s`. Returns the shortage that remains.

        Raises `KeyLimitExceeded` for a rate of the key, `AccessUnavailable` where the table does not answer. After a
        success, `end_attempt` must be called.
        """
        until_s = self._clock.monotonic_s() + patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            async with self._lock:
                shortage = await self._reserve_all(need, spent)
                if shortage is None:
                    self._running = Need(self._running.cost_usd + need.cost_usd, self._running.tokens + need.tokens)
                    return None
            if not shortage.is_temporary or self._clock.monotonic_s() + pause_s > until_s:
                return shortage
            await self._clock.sleep(pause_s * (0.5 + _SYSTEM_RANDOM.random() / 2))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def left_usd(self) -> Decimal | None:
        """Returns what is left of the smallest budget, apart from what is reserved; None where there is no budget, or
        the table does not answer. Reads the account of each budget.
        """
        left: list[Decimal] = []
        for quota in (reserved.quota for reserved in self._reserved):
            if not quota.limits.keys() & set(_BUDGETS):
                continue
            try:
                account = await self._quotas.read(quota)
            except QuotasUnavailable as exc:
                _report_unavailable(exc)
                return None
            left.append(min(_left(account, quota)))
        return max(min(left), Decimal(0)) if left else None

    def end_attempt(self, need: Need) -> None:
        """Ends an attempt that `reserve` allowed: from now on its cost is part of what was spent."""
        self._running = Need(self._running.cost_usd - need.cost_usd, self._running.tokens - need.tokens)

    async def settle(self, spent: Need) -> None:
        """Settles everything by what the request spent. Never raises: what cannot be settled is logged, and lapses."""
        async with self._lock:
            for reserved in self._reserved:
                if reserved.names:
                    await self._settle_one(reserved, Hold(pico_usd(spent.cost_usd), spent.tokens))

    async def _reserve_all(self, need: Need, spent: Need) -> BudgetShortage | None:
        cost_usd = spent.cost_usd + self._running.cost_usd + need.cost_usd
        wanted = Hold(pico_usd(cost_usd), spent.tokens + self._running.tokens + need.tokens, 1)
        for reserved in self._reserved:
            shortage = await self._reserve_one(reserved, wanted)
            if shortage is not None:
                own, used = reserved.hold.cost, pico_usd(cost_usd - need.cost_usd)
                return BudgetShortage(
                    shortage,
                    left_usd=max(Decimal(0), Decimal(shortage.left - used) / PICO_USD),
                    is_temporary=shortage.needed <= shortage.left - own,
                )
        return None

    async def _reserve_one(self, reserved: _Reserved, wanted: Hold) -> Shortage | None:
        """Reserves what is missing of one quota. Returns the shortage of a budget."""
        quota, hold = reserved.quota, _missing(reserved.quota.counted(wanted), reserved.hold)
        requests = 0 if reserved.is_counted or Counter.REQUESTS not in quota.limits else 1
        if hold == NO_HOLD and not requests:
            return None
        name = self._new_name()
        try:
            outcome = await self._quotas.reserve(quota, name, hold, requests=requests)
        except QuotasUnavailable as exc:
            _report_unavailable(exc)
            if hold.cost and not self._fails_open:
                raise AccessUnavailable(
                    "the table of the budgets does not answer, and a paid request may not go on without it",
                    retry_after_s=_RETRY_AFTER_S,
                ) from exc
            return None
        if isinstance(outcome, Account):
            reserved.is_counted = True
            if hold != NO_HOLD:
                reserved.names, reserved.hold = (*reserved.names, name), reserved.hold.plus(hold)
            return None
        if outcome.counter in _BUDGETS:
            return outcome
        raise _key_limit_exceeded(outcome, self._clock.now())

    async def _settle_one(self, reserved: _Reserved, spent: Hold) -> None:
        names, hold = reserved.names, reserved.hold
        reserved.names, reserved.hold = (), NO_HOLD
        try:
            account = await self._quotas.settle(reserved.quota, names, hold, spent)
        except QuotasUnavailable as exc:
            _report_unavailable(exc)
            extra = {"owner": reserved.quota.owner, "cost_usd": float(spent.cost / PICO_USD)}
            logger().error("a cost was not settled: its budget does not count it", extra=extra)
            return
        _report_percent(reserved.quota, account)

    def _new_name(self) -> str:
        return hold_name(self._lapses, "".join(self._choose(_NAME_CHARACTERS) for _ in range(_NAME_LENGTH)))


def quotas_of(caller: Caller, *, daily_usd: Decimal | None, monthly_usd: Decimal | None) -> tuple[Quota, ...]:
    """Returns the quotas that a request of this caller uses: its key's, and the budget of the whole bridge."""
    policy = caller.policy
    of_key = {
        Counter.REQUESTS: policy.requests_per_minute,
        Counter.TOKENS: policy.tokens_per_minute,
        Counter.RUNNING: policy.concurrent_requests,
        **_budget(policy.daily_usd, policy.monthly_usd),
    }
    owners = ((caller.key_id, of_key), (BRIDGE, _budget(daily_usd, monthly_usd)))
    quotas = (Quota(owner, {c: limit for c, limit in limits.items() if limit is not None}) for owner, limits in owners)
    return tuple(quota for quota in quotas if quota.limits)


def _budget(daily_usd: Decimal | None, monthly_usd: Decimal | None) -> dict[Counter, int | None]:
    budgets = {Counter.DAY: daily_usd, Counter.MONTH: monthly_usd}
    return {counter: None if usd is None else int(usd * PICO_USD) for counter, usd in budgets.items()}


def _left(account: Account, quota: Quota) -> Iterator[Decimal]:
    """Yields what is left of each budget in the quota, in USD."""
    reserved = reserved_of(account.holds)
    for counter in _BUDGETS:
        if counter in quota.limits:
            used = account.used.get(counter, 0) - reserved[counter]
            yield Decimal(quota.limits[counter] - used) / PICO_USD


def _missing(wanted: Hold, reserved: Hold) -> Hold:
    return Hold(*(max(0, amount - has) for amount, has in zip(wanted, reserved, strict=True)))


def _key_limit_exceeded(shortage: Shortage, now: datetime) -> KeyLimitExceeded:
    wait_s = max(1.0, (shortage.renews_at - now).total_seconds()) if shortage.renews_at else 1.0
    allowed = {
        Counter.REQUESTS: "requests a minute",
        Counter.TOKENS: "tokens a minute",
        Counter.RUNNING: "requests at once",
    }[shortage.counter]
    needed = f", and this request needs about {shortage.needed}" if shortage.counter is Counter.TOKENS else ""
    return KeyLimitExceeded(
        f"this API key may use {shortage.limit} {allowed}{needed}; try again in {round(wait_s)} s", retry_after_s=wait_s
    )


def _report_unavailable(exc: QuotasUnavailable) -> None:
    logger().warning("quotas unavailable", extra={"reason": str(exc)})
    count(Metric.QUOTAS_UNAVAILABLE)


def _report_percent(quota: Quota, account: Account) -> None:
    """Writes the metric of an alarm where most of a budget is spent."""
    for counter, percent in _percents(quota, account):
        if percent >= _REPORTED_PERCENT:
            count(Metric.BUDGET_USED_PERCENT, percent, owner=quota.owner, period=counter.value)


def _percents(quota: Quota, account: Account) -> Iterator[tuple[Counter, int]]:
    for counter in _BUDGETS:
        if limit := quota.limits.get(counter):
            yield counter, round(100 * account.used.get(counter, 0) / limit)
