"""Reads how long a provider asks to wait before the next request.

Sources: RFC 9110, 10.2.3 (`Retry-After`); OpenAI (`retry-after-ms`, `x-ratelimit-reset-requests` and `-tokens` as
durations such as `6m0s`); Google (`google.rpc.RetryInfo` with `retryDelay`); OpenRouter (`x-ratelimit-reset` as a
time in Unix milliseconds).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT_S = 3_600.0

# The patterns are texts, which `re` compiles at the first failure and not at the start.
_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_DURATION = r"\s*(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)s)?\s*"
_MILLISECONDS = r"\s*(\d{1,12}(?:\.\d{1,9})?)ms\s*"
_MAX_DIGITS = 20
_RESETS = ("requests", "tokens", "input-tokens", "output-tokens")
_MIN_UNIX_S, _MIN_UNIX_MS = 1e9, 1e12

Header = Callable[[str], str | None]
"""Returns a header's value by its name in lower case."""


def retry_wait_s(header: Header, retry_delay: str | None, *, is_rate_limit: bool, now: datetime) -> float | None:
    """Returns the seconds to wait, at most an hour; None where the answer does not say it.

    `retry_delay` is Google's, from the body. The resets of rate limits count only if `is_rate_limit`: other answers
    have them, too.
    """
    milliseconds = _number(header("retry-after-ms"))
    waits_s = (
        None if milliseconds is None else milliseconds / 1000,
        _retry_after_s(header("retry-after"), now),
        _duration_s(retry_delay),
        _reset_s(header, now) if is_rate_limit else None,
    )
    found = next((wait_s for wait_s in waits_s if wait_s is not None), None)
    return None if found is None else min(max(found, 0.0), MAX_WAIT_S)


def _retry_after_s(value: str | None, now: datetime) -> float | None:
    if value is None or (seconds := _number(value)) is not None:
        return None if value is None else seconds
    if (duration_s := _duration_s(value)) is not None:
        return duration_s
    try:
        date = parsedate_to_datetime(value)
        return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None


def _reset_s(header: Header, now: datetime) -> float | None:
    """Returns the time until the exhausted limits are reset; the shortest, where none is named as exhausted."""
    resets = {name: _moment_s(header(f"x-ratelimit-reset-{name}"), now) for name in _RESETS}
    known = {name: reset_s for name, reset_s in resets.items() if reset_s is not None}
    exhausted = [known[name] for name in known if _number(header(f"x-ratelimit-remaining-{name}")) == 0]
    if exhausted or known:
        return max(exhausted) if exhausted else min(known.values())
    return _moment_s(header("x-ratelimit-reset"), now)


def _moment_s(value: str | None, now: datetime) -> float | None:
    """Returns the seconds until a moment: a duration, seconds, or a Unix time in seconds or milliseconds."""
    number = _number(value)
    if number is None:
        return _duration_s(value)
    if number >= _MIN_UNIX_MS:
        return number / 1000 - now.timestamp()
    return number - now.timestamp() if number >= _MIN_UNIX_S else number


def _duration_s(value: str | None) -> float | None:
    """Returns the seconds of a duration such as `34s`, `1.5s`, `6m0s`, `1h2m3s` or `120ms`."""
    if value is None:
        return None
    if found := re.fullmatch(_MILLISECONDS, value):
        return float(found[1]) / 1000
    found = re.fullmatch(_DURATION, value)
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _number(value: str | None) -> float | None:
    found = re.fullmatch(_NUMBER, value) if value is not None else None
    return float(found[1][:_MAX_DIGITS]) if found else None
