"""When a call is repeated, and after how long. Pure: the transport waits.

What may have been done already is not repeated, because a provider may bill it twice. The bridge itself says so: an
error after attempts has `x-should-retry: false`, and one that a wait may mend has `Retry-After`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sekha_llm_bridge.client.call import Call
from sekha_llm_bridge.client.errors import QuotaExceeded
from sekha_llm_bridge.errors import BridgeError

MAX_RETRY_WAIT_S = 30.0
"""A longer wait is the caller's to decide: the error is raised, with `retry_after_s`."""

_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 8.0
_MAX_JITTER = 0.25  # of a wait that the bridge asked for


class Fault(NamedTuple):
    """Why a call has no reply. `was_sent` is False where the connection failed first. `should_retry` is the header
    `x-should-retry`, None without one. `cause`: the exception of httpx, None where the bridge answered.
    """

    error: BridgeError
    was_sent: bool = True
    should_retry: bool | None = None
    is_timeout: bool = False
    cause: Exception | None = None


class RetryPolicy(NamedTuple):
    """How often a call is repeated. `random` returns a number from 0 to 1."""

    max_retries: int
    random: Callable[[], float]

    def wait_s(self, call: Call[Any], fault: Fault, n_retries: int) -> float | None:
        """Returns the time before the next retry, after `n_retries` of them; None where there is none."""
        if n_retries >= self.max_retries or not may_retry(call, fault):
            return None
        asked_s = fault.error.retry_after_s
        if asked_s is None:
            backoff_s: float = min(_FIRST_BACKOFF_S * 2**n_retries, _MAX_BACKOFF_S)
            return backoff_s * (0.5 + 0.5 * self.random())
        return None if asked_s > MAX_RETRY_WAIT_S else asked_s * (1 + _MAX_JITTER * self.random())


def may_retry(call: Call[Any], fault: Fault) -> bool:
    """Whether a repeated call can help, and is billed at most once."""
    if not fault.was_sent:
        return True
    if fault.is_timeout:
        return False
    if fault.cause is not None:  # the connection broke
        return call.is_free
    if fault.should_retry is False or fault.error.status not in _RETRIED_STATUSES:
        return False
    return fault.should_retry is True or _is_safe(call, fault.error)


def _is_safe(call: Call[Any], error: BridgeError) -> bool:
    """Without a word of the bridge: a gateway's 502 or 504 may stand for a request that was carried out."""
    if isinstance(error, QuotaExceeded):
        return False
    is_refused = error.status == 429 or (error.status == 503 and error.retry_after_s is not None)
    return call.is_free or is_refused
