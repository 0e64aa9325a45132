"""What a failed attempt means for the requests after it: breaker, cool-down, alarm."""

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import CallOutcome, FailureKind, ProviderError
from sekha_llm_bridge.execution.failover import FailoverState
from sekha_llm_bridge.observability import count_provider_needs_attention
from sekha_llm_bridge.resilience import BreakerSession, Cooldowns, Permit

_MIN_TIMEOUT_TO_COUNT_S = (
    10.0  # an attempt that had less, and less than its provider's timeout, was limited by the deadline
)


async def report_failure(
    permit: Permit,
    state: FailoverState,
    session: BreakerSession,
    cooldowns: Cooldowns,
    *,
    is_reachable: bool = False,
) -> None:
    """Reports the last failure of `state` to the breaker, the cool-downs and the alarms.

    Several failures of one provider in one request count as one: the request may be the reason. `is_reachable`: the
    provider is known to answer, so that the failure does not count at all.
    """
    failed = state.failed[-1]
    failure, (provider_id, model_id) = failed.failure, failed.entry.key
    if failure.retry_after_s is not None:
        cooldowns.start(provider_id, model_id, failure.retry_after_s)
    outcome = CallOutcome.NEUTRAL if is_reachable else failure.kind.outcome
    if outcome is CallOutcome.REJECTION:
        count_provider_needs_attention(provider_id, failure.kind.code)
    if outcome is CallOutcome.FAILURE and (failed.is_deadline_limited or not state.mark_first_failure(provider_id)):
        outcome = CallOutcome.NEUTRAL
    await session.report_outcome(permit, outcome, cause=failure.kind.code)


def is_deadline_limited(error: ProviderError, provider: ProviderConfig, *, allowed_s: float, took_s: float) -> bool:
    """Returns whether an attempt failed for lack of time because earlier attempts had used the time up."""
    if error.kind not in {FailureKind.TIMEOUT, FailureKind.CONNECT_FAILED}:
        return False
    return allowed_s < min(provider.timeout_secs, _MIN_TIMEOUT_TO_COUNT_S) and took_s > allowed_s / 2
