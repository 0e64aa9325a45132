"""What the next requests should know of a failed attempt, and what an exception means that no adapter raises on
purpose.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import CallOutcome, FailureKind, ProviderError
from sekha_llm_bridge.execution.run import Run
from sekha_llm_bridge.observability import code_location, count_provider_needs_attention, logger
from sekha_llm_bridge.resilience import BreakerSession, Cooldowns, Permit

T = TypeVar("T")
_FAIR_S = 10.0  # who had less time, and less than its own timeout, is not to blame for taking longer


async def learn(permit: Permit, failure: ProviderError, run: Run, watch: BreakerSession, cooldowns: Cooldowns) -> None:
    """Tells breaker, cool-downs and whoever is on duty of the run's last failure. However many of a provider's models
    fail in one request, it is one failure of the provider: the request may be the reason.
    """
    provider_id, model_id = run.failures[-1][0].key
    if failure.kind is FailureKind.RATE_LIMITED and failure.retry_after_s is not None:
        cooldowns.start(provider_id, model_id, failure.retry_after_s)
    if failure.kind.outcome is CallOutcome.REJECTION:
        count_provider_needs_attention(provider_id, failure.code)
    outcome = failure.kind.outcome
    if outcome is CallOutcome.FAILURE and (run.is_deadline_limited or not run.blames(provider_id)):
        outcome = CallOutcome.NEUTRAL
    await watch.report_outcome(permit, outcome, cause=failure.code)


def was_deadline_limited(failure: ProviderError, provider: ProviderConfig, *, allowed_s: float, took_s: float) -> bool:
    """Whether the attempt ran out of time because others before it had used that up."""
    if allowed_s >= min(provider.timeout_secs, _FAIR_S) or failure.kind not in {
        FailureKind.TIMEOUT,
        FailureKind.CONNECT_FAILED,
    }:
        return False
    return took_s > allowed_s / 2


def unexpected_failure(exc: Exception, provider_id: str, allowed_s: float, within: asyncio.Timeout) -> ProviderError:
    """The failure that an exception is which no adapter raises on purpose: its time is up, or it has a mistake."""
    if isinstance(exc, TimeoutError) and within.expired():
        return ProviderError(FailureKind.TIMEOUT, f"the provider did not answer within {allowed_s:.1f} s")
    logger().error(
        "unexpected error in an attempt", extra={"provider": provider_id, "code_location": code_location(exc)}
    )
    return ProviderError(FailureKind.ADAPTER_FAULT, "the bridge could not work with this provider; its log says where")


async def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Does the work to its end, also where whoever waits for it is cancelled meanwhile: what came of a call is noted,
    and a lease given back, whether anybody still listens or not. Only for what does not take long.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger().error("unexpected error while settling a request", extra={"code_location": code_location(failure)})
        raise
