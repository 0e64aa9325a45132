"""The account of one owner of quotas: what is used in the present periods, and what is reserved for requests under way.

Pure: no clock, no table. A counter's `used` is what was spent in its period and what is reserved at present, in one
number, because a condition of DynamoDB can compare a number but cannot add two.

A request reserves by a hold, which has its own name and the time at which it lapses. When the request ends, the hold is
removed and `used` is corrected to what it really cost. The hold of a function that was killed lapses: what it reserved
is released (infra/decisions/0033).

When a new period begins, its counter starts with what is reserved at that moment, because that will be spent in it.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Self

PICO_USD = Decimal(10) ** 12
"""Amounts are counted in whole pico-USD: a price per million tokens with up to six decimals is exact."""


class Counter(StrEnum):
    """What is counted. DAY and MONTH are costs in pico-USD."""

    DAY = "day"
    MONTH = "month"
    TOKENS = "tokens"
    REQUESTS = "requests"
    RUNNING = "running"


class Period(StrEnum):
    """The periods, by UTC. The value is the name of the attribute that says which one is counted."""

    DAY = "day_of"
    MONTH = "month_of"
    MINUTE = "minute_of"


PERIOD_OF: Mapping[Counter, Period] = MappingProxyType(
    {
        Counter.DAY: Period.DAY,
        Counter.MONTH: Period.MONTH,
        Counter.TOKENS: Period.MINUTE,
        Counter.REQUESTS: Period.MINUTE,
    }
)
"""The period in which each counter is counted; RUNNING has none."""

_LENGTHS = {Period.DAY: 10, Period.MONTH: 7, Period.MINUTE: 16}  # of the ISO date that names the period


class Hold(NamedTuple):
    """What is reserved for one request: a cost in pico-USD, tokens, and a place among those that run at once."""

    cost: int = 0
    tokens: int = 0
    running: int = 0

    def amounts(self) -> dict[Counter, int]:
        """Returns the amount of each counter."""
        return {
            Counter.DAY: self.cost,
            Counter.MONTH: self.cost,
            Counter.TOKENS: self.tokens,
            Counter.RUNNING: self.running,
        }

    def plus(self, other: "Hold") -> "Hold":
        """Returns the sum of two holds."""
        return Hold(self.cost + other.cost, self.tokens + other.tokens, self.running + other.running)


NO_HOLD = Hold()


class Quota(NamedTuple):
    """What `owner` may use in a period. Only what has a limit, or shares its period with a limit, is counted."""

    owner: str
    limits: Mapping[Counter, int]

    @property
    def counters(self) -> frozenset[Counter]:
        """The counters that are written. Both costs are counted where one has a limit: the other may get one later."""
        has_costs = self.limits.keys() & {Counter.DAY, Counter.MONTH}
        return frozenset(self.limits) | (frozenset({Counter.DAY, Counter.MONTH}) if has_costs else frozenset())

    @property
    def periods(self) -> frozenset[Period]:
        """The periods of the counters."""
        return frozenset(PERIOD_OF[counter] for counter in self.counters if counter in PERIOD_OF)

    def counted(self, hold: Hold) -> Hold:
        """Returns the part of a hold that this quota counts."""
        counters = self.counters
        return Hold(
            hold.cost if Counter.DAY in counters else 0,
            hold.tokens if Counter.TOKENS in counters else 0,
            hold.running if Counter.RUNNING in counters else 0,
        )


class Shortage(NamedTuple):
    """A limit that leaves too little room. `used` includes `reserved`, and `needed` did not fit beside it. Costs are in
    pico-USD. `renews_at` is the end of the period, None for requests that run at once.
    """

    owner: str
    counter: Counter
    limit: int
    used: int
    reserved: int
    needed: int
    renews_at: datetime | None

    @property
    def is_temporary(self) -> bool:
        """Whether there would be room if the requests under way cost nothing: then it is worth to wait for them."""
        return self.used - self.reserved + self.needed <= self.limit

    @property
    def left(self) -> int:
        """What is left apart from what is reserved."""
        return max(0, self.limit - self.used + self.reserved)


class Account(NamedTuple):
    """The state of one owner. `version` grows with every write."""

    used: Mapping[Counter, int] = MappingProxyType({})
    periods: Mapping[Period, str] = MappingProxyType({})
    holds: Mapping[str, Hold] = MappingProxyType({})
    version: int = 0

    def at(self, now: datetime, quota: Quota) -> Self:
        """Returns the account as it is at `now`: without lapsed holds, and with counters of the present periods.

        A period that has begun by another instance's clock has begun: an account never goes back to an earlier one.
        """
        lapsed = {name: hold for name, hold in self.holds.items() if lapses_at(name) <= now}
        used = dict(self.used)
        for hold in lapsed.values():
            for counter, amount in hold.amounts().items():
                if amount:
                    used[counter] = max(0, used.get(counter, 0) - amount)
        holds = {name: hold for name, hold in self.holds.items() if name not in lapsed}
        present = {period: max(name_of(period, now), self.periods.get(period, "")) for period in quota.periods}
        reserved = reserved_of(holds)
        for counter in quota.counters:
            period = PERIOD_OF.get(counter)
            if period is not None and self.periods.get(period) != present[period]:
                used[counter] = reserved[counter]
        return self._replace(used=used, periods={**self.periods, **present}, holds=holds)

    def shortage(self, amounts: Mapping[Counter, int], quota: Quota, now: datetime) -> Shortage | None:
        """Returns the first limit that leaves no room for the amounts; None where they all fit. One that would not fit
        even after the requests under way comes first.
        """
        reserved = reserved_of(self.holds)
        found = [
            Shortage(
                quota.owner, counter, limit, self.used.get(counter, 0), reserved[counter], needed, end_of(counter, now)
            )
            for counter, limit in quota.limits.items()
            if (needed := amounts.get(counter, 0)) > 0 and self.used.get(counter, 0) + needed > limit
        ]
        return min(found, key=lambda shortage: shortage.is_temporary, default=None)

    def added(self, amounts: Mapping[Counter, int]) -> Self:
        """Returns the account with more used."""
        used = {counter: self.used.get(counter, 0) + amounts.get(counter, 0) for counter in {*self.used, *amounts}}
        return self._replace(used=used)

    def with_hold(self, name: str, hold: Hold) -> Self:
        """Returns the account with one more hold, whose amounts are not added to `used`."""
        return self if hold == NO_HOLD else self._replace(holds={**self.holds, name: hold})


def reserved_of(holds: Mapping[str, Hold]) -> dict[Counter, int]:
    """Returns what all holds together reserve, by counter; no request is reserved, it is counted when it begins."""
    total = NO_HOLD
    for hold in holds.values():
        total = total.plus(hold)
    return {**total.amounts(), Counter.REQUESTS: 0}


def name_of(period: Period, now: datetime) -> str:
    """Returns the name of the present period, such as `2026-11-28` for a day."""
    return now.isoformat()[: _LENGTHS[period]]


def end_of(counter: Counter, now: datetime) -> datetime | None:
    """Returns when the counter's present period ends; None for a counter without periods."""
    period = PERIOD_OF.get(counter)
    if period is None:
        return None
    if period is Period.MINUTE:
        return now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


def hold_name(lapses: datetime, random_part: str) -> str:
    """Returns the name of a hold that lapses at that time, rounded up to a second."""
    return f"h{math.ceil(lapses.timestamp()):x}{random_part}"


def lapses_at(name: str) -> datetime:
    """Returns when the hold of that name lapses."""
    return datetime.fromtimestamp(int(name[1:9], 16), UTC)


def pico_usd(amount_usd: Decimal) -> int:
    """Returns an amount in whole pico-USD, rounded up."""
    return math.ceil(amount_usd * PICO_USD)
