"""Durations and times as people say them."""

from datetime import datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration_text(seconds: float) -> str:
    """Whole units of the largest that fits, rounded down: `42 s`, `12 min`, `3 h`, `5 d`.

    Less than nothing is `0 s`.
    """
    whole = max(0, int(seconds))
    for length, unit in _UNITS:
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def ago_text(then: datetime, now: datetime) -> str:
    """How long ago `then` was; `0 s ago` when the two clocks differ and it is still to come."""
    return f"{duration_text((now - then).total_seconds())} ago"
