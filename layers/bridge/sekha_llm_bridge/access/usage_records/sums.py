"""Sums of usage by day, by model or by API key."""

from collections.abc import Iterable
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from sekha_llm_bridge.access.usage_records.amounts import Amounts, usd
from sekha_llm_bridge.access.usage_records.store import KEPT_DAYS, UsageRecord

DEFAULT_DAYS = 30
"""How many days are summed up where none are named, today included."""

_FIRST_DAY = date(2000, 1, 1)


class GroupBy(StrEnum):
    """What is summed up."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"


class UsagePeriod(NamedTuple):
    """The first and the last day, in UTC."""

    first: date
    last: date


def period_of(first: str | None, last: str | None, *, today: date) -> UsagePeriod:
    """Returns the period of two days as texts. By default it ends today, and has thirty days. Raises `ValueError`,
    whose message begins with `from` or `to`.
    """
    end = _day(last, "to") or today
    start = _day(first, "from") or end - timedelta(days=DEFAULT_DAYS - 1)
    if start > end:
        raise ValueError(f"from must not be after to: {start} is after {end}")
    if (end - start).days >= KEPT_DAYS:
        raise ValueError(f"from must be within {KEPT_DAYS} days of to: usage is kept for so long")
    return UsagePeriod(start, end)


def _day(text: str | None, name: str) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = _FIRST_DAY - timedelta(days=1)
    if day < _FIRST_DAY or day.isoformat() != text:  # it also reads other forms, such as weeks
        raise ValueError(f"{name} must be a day of the form 2026-11-28")
    return day


class UsageSum(NamedTuple):
    """The usage of one day, model or key; of all of them, `name` is empty."""

    name: str
    amounts: Amounts

    def public(self, by: GroupBy | None = None) -> dict[str, object]:
        """Returns the sum as callers see it. Costs are in USD."""
        amounts = self.amounts._asdict()
        cost, max_cost = amounts.pop("cost_pico_usd"), amounts.pop("max_cost_pico_usd")
        named: dict[str, object] = {by.value: self.name or None} if by else {}
        return {**named, **amounts, "cost": float(usd(cost)), "max_cost": float(usd(max_cost))}


def sums_by(records: Iterable[UsageRecord], by: GroupBy) -> list[UsageSum]:
    """Returns the sums: days in order, models and keys by what they cost, the most expensive first."""
    sums: dict[str, Amounts] = {}
    for record in records:
        name = _name(record, by)
        sums[name] = sums.get(name, Amounts()).plus(record.amounts)
    found = [UsageSum(name, amounts) for name, amounts in sorted(sums.items())]
    return found if by is GroupBy.DAY else sorted(found, key=lambda one: -one.amounts.cost_pico_usd)


def document_of(
    records: Iterable[UsageRecord], period: UsagePeriod, by: GroupBy, *, key_id: str | None = None
) -> dict[str, object]:
    """Returns the sums as JSON, as `GET /api/v1/usage` answers. `key_id`: whose records they are; None for all."""
    sums = sums_by(records, by)
    return {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "by": by.value,
        "key_id": key_id,
        "data": [one.public(by) for one in sums],
        "total": total(sums).public(),
    }


def total(sums: Iterable[UsageSum]) -> UsageSum:
    """Returns the sum of all."""
    amounts = Amounts()
    for one in sums:
        amounts = amounts.plus(one.amounts)
    return UsageSum("", amounts)


def _name(record: UsageRecord, by: GroupBy) -> str:
    if by is GroupBy.DAY:
        return record.key.day
    if by is GroupBy.KEY:
        return record.key.key_id
    return f"{record.key.model.provider_id}/{record.key.model.model_id}"
