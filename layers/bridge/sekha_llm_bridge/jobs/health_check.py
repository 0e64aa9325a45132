"""The scheduled health check: calls every provider at the same time with a free call, records the results, and feeds
the circuit breakers.

A breaker whose probe is due is probed here, as often as it takes to close it, so that no user's request is risked to
find out that a provider is back. A provider or a table that fails does not keep the others from being checked.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.errors import CallOutcome, FailureKind, ProviderError
from sekha_llm_bridge.execution.provider_call import call_within, has_new_credentials
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.jobs.handler import Invocation, Job
from sekha_llm_bridge.jobs.model_discovery import update_list
from sekha_llm_bridge.observability import Metric, code_location, count, logger
from sekha_llm_bridge.providers.base import ModelLister
from sekha_llm_bridge.resilience import (
    DISABLED,
    PENDING,
    BreakerSession,
    BreakerState,
    CheckResult,
    Permit,
    PermitSource,
    ProviderRecord,
    Refusal,
)

PROBE_TIMEOUT_S = 5.0
_REFRESH_TIMEOUT_S = 3.0
_TABLE_TIMEOUT_S = 2.0  # longer than a request's: no user waits for the check
_MAX_WAIT_FOR_PROBE_S = 10.0  # for a probe that is due before the next check
_CLOCK_TOLERANCE_S = 0.05  # sleeping and asking for the time use different clocks
_LAST_PROBE_S = 20.0  # no probe starts later, so that the function ends in its time
_END_S = 25.0  # no model is described later
# Answers to the free call that say nothing against chats: no list of models, or another list than expected.
_ANSWERED = frozenset({FailureKind.MALFORMED_ANSWER, FailureKind.MODEL_MISSING, FailureKind.REQUEST_REJECTED})
_FAILING_STATUSES = frozenset({408, *range(500, 600)}) - {501, 505}  # these two mean that there is no such list


@dataclass(frozen=True, slots=True)
class _Probe:
    """The result of one free call; `failed` is None when the provider answered. `listed` are the models that it has;
    None unless it is asked for them (`models: auto`).
    """

    failed: ProviderError | None
    latency_ms: int
    listed: Sequence[FoundModel] | None = None

    @property
    def outcome(self) -> CallOutcome:
        """What the call says about the provider. Any answer shows that it is there. A rejected key or a rate limit
        leaves open what a request would get.
        """
        if self.failed is None or self.failed.kind in _ANSWERED:
            return CallOutcome.SUCCESS
        status = self.failed.failure.provider_status
        if self.failed.kind is FailureKind.SERVER_ERROR and status is not None and status not in _FAILING_STATUSES:
            return CallOutcome.SUCCESS
        if self.failed.kind is FailureKind.ACCESS_DENIED:  # the list of models may be forbidden, and chats allowed
            return CallOutcome.REJECTION
        return self.failed.kind.outcome

    @property
    def error(self) -> str | None:
        """The code of the failure; None where the provider is there."""
        return self.failed.code if self.failed and self.outcome is not CallOutcome.SUCCESS else None


def make_job() -> Job:
    """Returns the job. Its event is `{"gauges": true}` where alarms or a dashboard watch the gauges."""
    changes = ResultChanges()

    async def run(bridge: Bridge, invocation: Invocation) -> dict[str, Any]:
        event = invocation.event
        has_gauges = isinstance(event, Mapping) and event.get("gauges") is True
        return await check_all(bridge, changes, has_gauges=has_gauges)

    return run


class ResultChanges:
    """Compares the results of a check with those of the last one, so that an idle bridge does not log every minute."""

    def __init__(self) -> None:
        self._last: Mapping[str, str | None] | None = None

    def is_new(self, errors: Mapping[str, str | None]) -> bool:
        """Returns whether `errors`, by provider id, differ from the last ones. The first ones always do."""
        last, self._last = self._last, errors
        return errors != last


async def check_all(bridge: Bridge, changes: ResultChanges | None = None, *, has_gauges: bool = True) -> dict[str, Any]:
    """Checks every provider that has an adapter, all at the same time. Returns status, latency and error by provider
    id.

    Logs one line where `changes` says that the results are new, and writes the gauges that alarms watch, unless nobody
    does (CloudWatch bills each at $0.30 a month): how many providers are healthy, how many lack a stored secret, and
    how many breakers were not closed before or after the check (not written while the table is unavailable). Providers
    that lack a secret are not called; why, is recorded for the functions that read no secrets.
    """
    unusable = _unusable(bridge)
    provider_ids = [config.id for config in bridge.settings.providers if config.id not in unusable]
    open_before = _not_closed(await bridge.breakers.read_now(table_timeout_s=_TABLE_TIMEOUT_S))
    checks = [_check(provider_id, bridge) for provider_id in provider_ids]
    checks += [_record_unusable(result, bridge) for result in unusable.values()]
    results = []
    for result in await asyncio.gather(*checks, return_exceptions=True):
        if isinstance(result, CheckResult):
            results.append(result)
        else:
            logger().error("unexpected error in a check", extra={"code_location": code_location(result)})
    if changes is None or changes.is_new({result.provider_id: result.error for result in results}):
        unhealthy = {result.provider_id: result.error for result in results if not result.is_healthy}
        logger().info("health check", extra={"providers": len(results), "unhealthy": unhealthy})
    if has_gauges:
        count(Metric.HEALTHY_PROVIDERS, sum(result.is_healthy for result in results))
        count(Metric.DISABLED_PROVIDERS, len(unusable))
        if not bridge.breakers.is_table_unavailable:
            count(Metric.OPEN_BREAKERS, len(open_before | _not_closed(bridge.breakers.records)))
    return {
        result.provider_id: {
            "status": _status(result),
            "latency_ms": result.latency_ms,
            "error": result.error,
        }
        for result in results
    }


def _status(result: CheckResult) -> str:
    if result.is_healthy:
        return "healthy"
    return result.error if result.unusable_because and result.error else "unhealthy"


def _unusable(bridge: Bridge) -> dict[str, CheckResult]:
    """Returns the results of the providers that lack a stored secret, by their ids. One whose variable is not set is
    none of them, because that may be on purpose, and every function knows it.
    """
    settings = bridge.settings
    reasons = {one.config.id: (DISABLED, one.reason) for one in settings.disabled if one.is_secret_missing}
    reasons |= {provider_id: (PENDING, reason) for provider_id, reason in settings.pending.items()}
    now = bridge.clock.now()
    return {
        provider_id: CheckResult(
            provider_id,
            is_healthy=False,
            latency_ms=None,
            checked_at=now,
            error=error,
            is_conclusive=False,
            unusable_because=reason,
        )
        for provider_id, (error, reason) in reasons.items()
    }


async def _record_unusable(result: CheckResult, bridge: Bridge) -> CheckResult:
    session = await bridge.breakers.session(table_timeout_s=_TABLE_TIMEOUT_S)
    await session.record_check(result)
    return result


async def _check(provider_id: str, bridge: Bridge) -> CheckResult:
    """Probes a provider once, and again where that is one of several successes that close its breaker."""
    session = await bridge.breakers.session(table_timeout_s=_TABLE_TIMEOUT_S)
    started_s = bridge.clock.monotonic_s()
    for _ in range(bridge.settings.routing.circuit_breaker.success_threshold):
        probe = await _probe_and_report(provider_id, bridge, session)
        breaker = bridge.breakers.records.get(provider_id, ProviderRecord()).breaker
        has_time = bridge.clock.monotonic_s() - started_s < _LAST_PROBE_S
        if probe.error or breaker.state is not BreakerState.HALF_OPEN or not has_time:
            break
    result = CheckResult(
        provider_id=provider_id,
        is_healthy=probe.error is None,
        latency_ms=None if probe.error else probe.latency_ms,
        checked_at=bridge.clock.now(),
        error=probe.error,
        is_conclusive=probe.outcome in {CallOutcome.SUCCESS, CallOutcome.FAILURE},
    )
    await session.record_check(result)
    if probe.listed is not None:
        remaining_s = _END_S - (bridge.clock.monotonic_s() - started_s)
        try:
            await update_list(provider_id, probe.listed, bridge, remaining_s=remaining_s)
        except Exception as exc:  # noqa: BLE001 — the check itself is done, and its result counts
            extra = {"provider": provider_id, "code_location": code_location(exc)}
            logger().error("unexpected error in a list of models", extra=extra)
    return result


async def _probe_and_report(provider_id: str, bridge: Bridge, session: BreakerSession) -> _Probe:
    """Calls the provider in any case, because the call is free; without the breaker's permit it does not count."""
    permit = await _request_permit(provider_id, bridge, session)
    started_s = bridge.clock.monotonic_s()
    providers = bridge.providers
    used = providers.config(provider_id)
    failed, listed = await _call(provider_id, bridge)
    if failed and await has_new_credentials(failed, providers, provider_id, used=used, timeout_s=_REFRESH_TIMEOUT_S):
        failed, listed = await _call(provider_id, bridge)
    probe = _Probe(failed, round((bridge.clock.monotonic_s() - started_s) * 1000), listed)
    if isinstance(permit, Permit):
        await session.report_outcome(permit, probe.outcome, cause=probe.error or "")
    return probe


async def _request_permit(provider_id: str, bridge: Bridge, session: BreakerSession) -> Permit | Refusal:
    """Requests a permit, and waits for a probe that is due soon: otherwise a breaker that a check has reopened would be
    probed by every second check only.
    """
    lasts_s = PROBE_TIMEOUT_S + _REFRESH_TIMEOUT_S + PROBE_TIMEOUT_S
    permit = await session.request_permit(provider_id, lasts_s=lasts_s, source=PermitSource.CHECK)
    if isinstance(permit, Permit) or permit.state is not BreakerState.OPEN:
        return permit
    if permit.retry_after_s > _MAX_WAIT_FOR_PROBE_S:
        return permit
    await bridge.clock.sleep(permit.retry_after_s + _CLOCK_TOLERANCE_S)
    return await session.request_permit(provider_id, lasts_s=lasts_s, source=PermitSource.CHECK)


async def _call(provider_id: str, bridge: Bridge) -> tuple[ProviderError | None, Sequence[FoundModel] | None]:
    """Makes the free call. Returns the failure, or None, and the models of a provider that is asked for them."""

    async def call() -> Sequence[FoundModel] | None:
        provider = bridge.providers.get(provider_id)
        if bridge.providers.config(provider_id).lists_models and isinstance(provider, ModelLister):
            return await provider.list_models(timeout_s=PROBE_TIMEOUT_S)
        await provider.probe(timeout_s=PROBE_TIMEOUT_S)
        return None

    try:
        listed = await call_within(
            call,
            provider_id=provider_id,
            timeout_s=PROBE_TIMEOUT_S,
            timeout_message=f"no answer within {PROBE_TIMEOUT_S} s",
        )
    except ProviderError as exc:
        return exc, None
    return None, listed


def _not_closed(records: Mapping[str, ProviderRecord]) -> frozenset[str]:
    return frozenset(name for name, record in records.items() if record.breaker.state is not BreakerState.CLOSED)
