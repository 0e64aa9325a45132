"""Schedule expressions of EventBridge, `rate(…)` and `cron(…)`, and the event of a scheduled function."""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from local_stack.template import ACCOUNT_ID, Schedule

_RATE = re.compile(r"rate\(\s*(\d+)\s+(minute|hour|day)s?\s*\)")
_CRON = re.compile(r"cron\(([^)]*)\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# The fields of cron(): the first and last value, and the names of the values, in order.
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (1, 7, _WEEKDAYS),
    (1970, 2199, ()),
)
# The longest gap between two matches is 8 years: from 29 February 2096 to 29 February 2104.
_SEARCH_DAYS = 366 * 9


class ScheduleError(Exception):
    """The expression is invalid, or the local stack does not support it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A run every `seconds` seconds, from the start on."""

    seconds: int

    def next_after(self, at: datetime) -> datetime:
        """Returns the time of the run after the one at `at`."""
        return at + timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """A run at each minute that matches all fields, in UTC."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]

    def next_after(self, at: datetime) -> datetime:
        """Returns the first matching minute after `at`. Raises ScheduleError when there is none within 9 years."""
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(_SEARCH_DAYS):
            if self._matches_day(day):
                times = (
                    day.replace(hour=hour, minute=minute)
                    for hour in sorted(self.hours)
                    for minute in sorted(self.minutes)
                )
                due = next((time for time in times if time > at), None)
                if due:
                    return due
            day += timedelta(days=1)
        raise ScheduleError("this cron expression matches no future day")

    def _matches_day(self, day: datetime) -> bool:
        weekday = day.isoweekday() % 7 + 1  # Sunday is 1
        return day.day in self.days and day.month in self.months and weekday in self.weekdays and day.year in self.years


def parse(expression: str) -> Rate | Cron:
    """Parses `expression`. Raises ScheduleError."""
    rate = _RATE.fullmatch(expression.strip())
    if rate and int(rate[1]) > 0:
        return Rate(int(rate[1]) * _SECONDS[rate[2]])
    cron = _CRON.fullmatch(expression.strip())
    fields = cron[1].split() if cron else []
    if len(fields) != len(_FIELDS):
        raise ScheduleError(f"{expression}: expected rate(N minutes|hours|days) or cron() with six fields")
    try:
        return Cron(*(_values(field, *limits) for field, limits in zip(fields, _FIELDS, strict=True)))
    except ValueError as fault:
        raise ScheduleError(f"{expression}: {fault}") from fault


def _values(field: str, first: int, last: int, names: tuple[str, ...]) -> frozenset[int]:
    """Returns the numbers of a field of cron(): `*`, `?`, `5`, `1-5`, `*/15`, `MON-FRI`, and lists of these."""

    def number(text: str) -> int:
        value = names.index(text.upper()) + first if text.upper() in names else int(text)
        if not first <= value <= last:
            raise ValueError(f"{text} is not in {first}..{last}")
        return value

    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        start, end = (first, last) if span in {"*", "?"} else (number(low), number(high or low))
        if step and not high and span not in {"*", "?"}:
            end = last
        found.update(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def scheduled_event(
    schedule: Schedule, at: datetime, *, region: str, new_id: Callable[[], str] = lambda: str(uuid.uuid4())
) -> bytes:
    """Returns the event: the schedule's own input, else EventBridge's event."""
    arn = _arn(schedule, region)
    time = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event_id = new_id()
    if schedule.input_json is not None:
        attributes = {"schedule-arn": arn, "scheduled-time": time, "execution-id": event_id, "attempt-number": "1"}
        text = schedule.input_json
        for name, value in attributes.items():
            text = text.replace(f"<aws.scheduler.{name}>", value)
        return text.encode()
    event = {
        "version": "0",
        "id": event_id,
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler" if schedule.kind == "scheduler" else "aws.events",
        "account": ACCOUNT_ID,
        "time": time,
        "region": region,
        "resources": [arn],
        "detail": "{}" if schedule.kind == "scheduler" else {},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _arn(schedule: Schedule, region: str) -> str:
    if schedule.kind == "scheduler":
        return f"arn:aws:scheduler:{region}:{ACCOUNT_ID}:schedule/default/{schedule.name}"
    return f"arn:aws:events:{region}:{ACCOUNT_ID}:rule/{schedule.name}"
