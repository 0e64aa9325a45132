"""Moments and durations, as they are written in options: `90d`, `24h`, `2026-12-31`, `2026-12-31T18:00+01:00`."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,5})([mhdw])")
_FORMS = "a time such as 30m, 12h, 90d or 8w"


def parse_duration(text: str) -> timedelta:
    """Returns the duration. Raises `ValueError` with the forms that are understood."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is not {_FORMS}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_moment(text: str, now: datetime) -> datetime:
    """Returns the moment in UTC: a duration from `now`, or a date in ISO 8601, without a time zone in UTC.

    Raises `ValueError` for another form, and for what is not in the future.
    """
    moment = _moment(text.strip(), now)
    if moment <= now:
        raise ValueError(f"{text!r} is not in the future")
    return moment


def _moment(text: str, now: datetime) -> datetime:
    if _DURATION.fullmatch(text.lower()):
        return now + parse_duration(text)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither {_FORMS}, nor a date such as 2026-12-31") from None


def moment_text(moment: datetime) -> str:
    """Returns the moment for people, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
