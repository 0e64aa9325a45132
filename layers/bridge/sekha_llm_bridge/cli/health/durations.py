"""Durations and times as short texts."""

from datetime import datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration_text(seconds: float) -> str:
    """Returns the duration in the largest unit that fits, rounded down: `42 s`, `12 min`, `3 h`, `5 d`.

    A negative duration is `0 s`.
    """
    whole = max(0, int(seconds))
    for length, unit in _UNITS:
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def ago_text(then: datetime, now: datetime) -> str:
    """Returns how long ago `then` was; `0 s ago` when it is in the future, because the clocks of the machines
    differ."""
    return f"{duration_text((now - then).total_seconds())} ago"
