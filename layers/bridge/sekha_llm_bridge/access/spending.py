"""What one inbound request uses of the quotas of its caller and of the whole bridge.

Before each attempt its cost bound is reserved; at the end of the request all of it is settled by what it really cost.
An attempt that is covered by what the request has reserved already, because an earlier attempt cost less, writes
nothing. A request without a quota has no `RequestSpending`.
"""

import asyncio
import random
import string
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.access.caller import BudgetLimit, Caller
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
from sekha_llm_bridge.access.quotas.account import end_of, hold_name, reserved_of
from sekha_llm_bridge.cancellation import run_to_completion
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import AccessUnavailable, KeyLimitExceeded, NotAllowed
from sekha_llm_bridge.observability import Metric, count, logger

BRIDGE = "bridge"
"""The owner of the budget of the whole bridge."""

SETTLING_S = 1.0
"""The longest time that a settlement takes, before the last byte of an answer."""

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
    """What the request has reserved of one quota. `unknown` are holds that may or may not have been stored."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.names: tuple[str, ...] = ()
        self.hold = NO_HOLD
        self.unknown: list[tuple[str, Hold]] = []
        self.is_counted = False  # as one of the requests of this minute
        self.is_unreserved = False  # a paid attempt was made although the table did not answer


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

    async def reserve(self, need: Need, *, spent: Need, max_wait_s: float) -> BudgetShortage | None:
        """Reserves for an attempt, beside `spent` by earlier attempts and what runs at present. Where only requests
        under way leave no room, waits for them for up to `max_wait_s`. Returns the shortage that remains.

        Raises `KeyLimitExceeded` for a rate of the key, `AccessUnavailable` where the table does not answer. After a
        success, `end_attempt` must be called.
        """
        until_s = self._clock.monotonic_s() + max_wait_s
        pause_s = _FIRST_PAUSE_S
        while True:
            async with self._lock:
                # What is written must be known, so that it can be settled: also where the client disconnects meanwhile.
                shortage = await run_to_completion(self._reserve_all(need, spent))
                if shortage is None:
                    self._running = Need(self._running.cost_usd + need.cost_usd, self._running.tokens + need.tokens)
                    return None
            if not shortage.is_temporary or self._clock.monotonic_s() + pause_s > until_s:
                return shortage
            await self._clock.sleep(pause_s * (0.5 + _SYSTEM_RANDOM.random() / 2))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def whole_budget(self) -> BudgetLimit | None:
        """Returns the smallest budget, as if nothing were spent; None where there is none."""
        now = self._clock.now()
        return _smallest(_budgets(Account(), reserved.quota, now) for reserved in self._reserved)

    async def budget_left(self) -> BudgetLimit | None:
        """Returns the budget of which the least is left, apart from what is reserved; None where there is no budget.
        Reads the account of each budget; where the table does not answer, it counts as not used.
        """
        now = self._clock.now()
        return _smallest(
            [_budgets(await self._account(reserved.quota), reserved.quota, now) for reserved in self._reserved]
        )

    def end_attempt(self, need: Need) -> None:
        """Ends an attempt that `reserve` allowed: from now on its cost is part of what was spent."""
        self._running = Need(self._running.cost_usd - need.cost_usd, self._running.tokens - need.tokens)

    async def settle(self, spent: Need) -> None:
        """Settles everything by what the request spent, within `SETTLING_S`. Never raises: what cannot be settled is
        logged, and lapses.
        """
        hold = Hold(pico_usd(spent.cost_usd), spent.tokens)
        async with self._lock:
            await asyncio.gather(*(self._settle_one(reserved, hold) for reserved in self._reserved))

    async def _account(self, quota: Quota) -> Account:
        if not quota.limits.keys() & set(_BUDGETS):
            return Account()
        try:
            return await self._quotas.read(quota)
        except QuotasUnavailable as exc:
            _report_unavailable(exc)
            return Account()

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
            if hold != NO_HOLD:
                reserved.unknown.append((name, hold))
            if hold.cost and not self._fails_open:
                raise AccessUnavailable(
                    "the table of the budgets does not answer, and a paid request may not go on without it",
                    retry_after_s=_RETRY_AFTER_S,
                ) from exc
            reserved.is_unreserved = True
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
        names, hold, unknown = reserved.names, reserved.hold, reserved.unknown
        is_counted_later = reserved.is_unreserved and not names and reserved.quota.counted(spent) != NO_HOLD
        reserved.names, reserved.hold, reserved.unknown, reserved.is_unreserved = (), NO_HOLD, [], False
        try:
            async with asyncio.timeout(SETTLING_S):
                if names:
                    _report_percent(reserved.quota, await self._quotas.settle(reserved.quota, names, hold, spent))
                elif is_counted_later:
                    _report_percent(reserved.quota, await self._quotas.count(reserved.quota, spent))
                for name, unknown_hold in unknown:
                    await self._quotas.release(reserved.quota, name, unknown_hold)
        except (QuotasUnavailable, TimeoutError) as exc:
            _report_unavailable(exc)
            extra = {"owner": reserved.quota.owner, "cost_usd": float(spent.cost / PICO_USD)}
            logger().error("a cost was not settled: its budget may not count it", extra=extra)

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


def _budgets(account: Account, quota: Quota, now: datetime) -> Iterator[BudgetLimit]:
    """Yields each budget of the quota with what is left of it."""
    reserved = reserved_of(account.holds)
    for counter in _BUDGETS:
        if counter in quota.limits:
            used = account.used.get(counter, 0)
            state = Shortage(
                quota.owner, counter, quota.limits[counter], used, reserved[counter], 0, end_of(counter, now)
            )
            shown = BudgetShortage(state, Decimal(state.left) / PICO_USD, is_temporary=False)
            yield BudgetLimit(shown.left_usd, shown.owner_name, shown.public())


def _smallest(budgets: Iterable[Iterable[BudgetLimit]]) -> BudgetLimit | None:
    return min((one for some in budgets for one in some), key=lambda budget: budget.usd, default=None)


def _missing(wanted: Hold, reserved: Hold) -> Hold:
    return Hold(*(max(0, amount - has) for amount, has in zip(wanted, reserved, strict=True)))


def _key_limit_exceeded(shortage: Shortage, now: datetime) -> KeyLimitExceeded | NotAllowed:
    if shortage.needed > shortage.limit:
        return NotAllowed(
            f"this request needs about {shortage.needed} tokens, and this API key may use {shortage.limit} tokens a"
            " minute; shorten it, or use another key"
        )
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


def _report_unavailable(exc: Exception) -> None:
    logger().warning("quotas unavailable", extra={"reason": str(exc) or type(exc).__name__})
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
