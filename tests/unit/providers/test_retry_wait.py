"""How long a provider asks to wait."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from sekha_llm_bridge.providers.retry_wait import retry_wait_s

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)


def wait_s(headers: Mapping[str, str], delay: str | None = None, *, is_rate_limit: bool = True) -> float | None:
    return retry_wait_s(headers.get, delay, is_rate_limit=is_rate_limit, now=NOW)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "30s"}, 30),
        ({"retry-after": "Sat, 28 Nov 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "86400"}, 3600),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "1h0m1s"}, 3600),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "7.66s"}, 2),
        (
            {
                "x-ratelimit-reset-requests": "1d",
                "x-ratelimit-remaining-requests": "5",
                "x-ratelimit-reset-tokens": "3s",
                "x-ratelimit-remaining-tokens": "0",
            },
            3,
        ),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() * 1000) + 20_000)}, 20),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 20)}, 20),
        ({"x-ratelimit-reset": "20"}, 20),
        ({}, None),
    ],
)
def test_a_header_says_how_long_to_wait(headers: Mapping[str, str], seconds: float | None) -> None:
    assert wait_s(headers) == (None if seconds is None else pytest.approx(seconds))


def test_googles_delay_in_the_body_counts() -> None:
    assert wait_s({}, "34s") == 34
    assert wait_s({}, "34.074824224s") == pytest.approx(34.07, abs=0.01)


def test_the_resets_of_rate_limits_count_only_for_a_rate_limit() -> None:
    assert wait_s({"x-ratelimit-reset-requests": "6m0s"}, is_rate_limit=False) is None
