"""The scheduled check: calls every provider at the same time for nothing, records who answered, and feeds the breakers.

A breaker whose probe is due is probed here, as often as it takes to close it, so that a provider that is back is found
out without any user's request. Nothing that one provider does, or the table, keeps the others from being checked.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge.bootstrap import Bridge, bridge
from sekha_llm_bridge.errors import CallOutcome, FailureKind, ProviderError
from sekha_llm_bridge.observability import Metric, code_location, count, logger
from sekha_llm_bridge.providers import has_adapter
from sekha_llm_bridge.resilience import (
    BreakerSession,
    BreakerState,
    CheckResult,
    Permit,
    PermitSource,
    ProviderRecord,
    Refusal,
)

PROBE_S = 5.0
_REFRESH_S = 3.0
_PATIENCE_S = 2.0  # for the table: nobody waits for the check
_LONGEST_WAIT_S = 10.0  # for a probe that is due before the next check; a failed one reopens the breaker for a minute
_TWO_CLOCKS_S = 0.05  # one is slept by, the other one asked
_OUT_OF_ORDER = frozenset({408, *range(500, 600)}) - {501, 505}  # these two: there is no such list
_ANSWERED = frozenset({FailureKind.MALFORMED_ANSWER, FailureKind.MODEL_MISSING, FailureKind.REQUEST_REJECTED})
_LAST_PROBE_S = 20.0  # none starts later, so that the function ends in its time


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one call came to; `failure` is None when the provider answered."""

    failure: ProviderError | None
    latency_ms: int

    @property
    def outcome(self) -> CallOutcome:
        """What it says of the provider: whoever answers at all is there, if it lists no models or others than expected.
        Who refuses the key, or is asked too often, leaves open what a request would meet with.
        """
        if self.failure is None or self.failure.kind in _ANSWERED:
            return CallOutcome.SUCCESS
        status = self.failure.failure.provider_status
        if self.failure.kind is FailureKind.SERVER_ERROR and status is not None and status not in _OUT_OF_ORDER:
            return CallOutcome.SUCCESS
        return self.failure.kind.outcome

    @property
    def error(self) -> str | None:
        """The code of what went wrong, unless the provider is there."""
        return self.failure.code if self.failure and self.outcome is not CallOutcome.SUCCESS else None


async def check_all(bridge: Bridge) -> dict[str, Any]:
    """Probes every provider that has an adapter; one that hangs delays nobody. Returns id → status and latency."""
    provider_ids = [config.id for config in bridge.settings.providers if has_adapter(config.provider_type)]
    found_open = _open(await bridge.breakers.read_now(patience_s=_PATIENCE_S))
    checks = (_check(provider_id, bridge) for provider_id in provider_ids)
    results = []
    for check in await asyncio.gather(*checks, return_exceptions=True):
        if isinstance(check, CheckResult):
            results.append(check)
        else:
            logger().error("a check failed itself", extra={"code_location": code_location(check)})
    _tell(results, None if bridge.breakers.is_table_unavailable else found_open | _open(bridge.breakers.records))
    return {result.provider_id: _summary(result) for result in results}


async def _check(provider_id: str, bridge: Bridge) -> CheckResult:
    """Probes once, and where that is half of what closes a breaker, again."""
    watch = await bridge.breakers.session(patience_s=_PATIENCE_S)
    began_s = bridge.clock.monotonic_s()
    for _ in range(bridge.settings.routing.circuit_breaker.success_threshold):
        finding = await _probe_with_leave(provider_id, bridge, watch)
        breaker = bridge.breakers.records.get(provider_id, ProviderRecord()).breaker
        has_time = bridge.clock.monotonic_s() - began_s < _LAST_PROBE_S
        if finding.error or breaker.state is not BreakerState.HALF_OPEN or not has_time:
            break
    result = CheckResult(
        provider_id=provider_id,
        is_healthy=finding.error is None,
        latency_ms=None if finding.error else finding.latency_ms,
        checked_at=bridge.clock.now(),
        error=finding.error,
        is_conclusive=finding.outcome in {CallOutcome.SUCCESS, CallOutcome.FAILURE},
    )
    await watch.record_check(result)
    return result


async def _probe_with_leave(provider_id: str, bridge: Bridge, watch: BreakerSession) -> _Finding:
    """Calls the provider in any case, because the call is free; without the breaker's leave it does not count."""
    permit = await _leave(provider_id, bridge, watch)
    started_s = bridge.clock.monotonic_s()
    failure = await _probe(provider_id, bridge)
    if (
        failure
        and failure.kind is FailureKind.CREDENTIALS_REJECTED
        and await bridge.providers.refresh(provider_id, timeout_s=_REFRESH_S)
    ):
        failure = await _probe(provider_id, bridge)
    finding = _Finding(failure, round((bridge.clock.monotonic_s() - started_s) * 1000))
    if isinstance(permit, Permit):
        await watch.report_outcome(permit, finding.outcome, cause=finding.error or "")
    return finding


async def _leave(provider_id: str, bridge: Bridge, watch: BreakerSession) -> Permit | Refusal:
    """Where the next probe is due soon, waits for it: otherwise a breaker that a check has reopened would be probed by
    every second check only.
    """
    lasts_s = PROBE_S + _REFRESH_S + PROBE_S
    leave = await watch.request_permit(provider_id, lasts_s=lasts_s, source=PermitSource.CHECK)
    if isinstance(leave, Permit) or leave.state is not BreakerState.OPEN or leave.retry_after_s > _LONGEST_WAIT_S:
        return leave
    await bridge.clock.sleep(leave.retry_after_s + _TWO_CLOCKS_S)
    return await watch.request_permit(provider_id, lasts_s=lasts_s, source=PermitSource.CHECK)


async def _probe(provider_id: str, bridge: Bridge) -> ProviderError | None:
    """What went wrong, or None."""
    try:
        async with asyncio.timeout(PROBE_S):
            await bridge.providers.get(provider_id).probe(timeout_s=PROBE_S)
    except TimeoutError:
        return ProviderError(FailureKind.TIMEOUT, f"no answer within {PROBE_S} s")
    except ProviderError as exc:
        return exc
    except Exception as exc:  # noqa: BLE001 — a mistake in one adapter must not cost the others their check
        logger().error(
            "unexpected error in a check", extra={"provider": provider_id, "code_location": code_location(exc)}
        )
        return ProviderError(FailureKind.ADAPTER_FAULT, "the bridge could not check this provider; its log says where")
    return None


def _open(records: Mapping[str, ProviderRecord]) -> frozenset[str]:
    return frozenset(name for name, record in records.items() if record.breaker.state is not BreakerState.CLOSED)


def _tell(results: Sequence[CheckResult], breakers_open: Collection[str] | None) -> None:
    """One log line, and the two gauges that the alarms watch: how many answer, and how many breakers were found open,
    or are so now; None where nobody knows.
    """
    unhealthy = {result.provider_id: result.error for result in results if not result.is_healthy}
    logger().info("health check", extra={"providers": len(results), "unhealthy": unhealthy})
    count(Metric.HEALTHY_PROVIDERS, sum(result.is_healthy for result in results))
    if breakers_open is not None:
        count(Metric.OPEN_BREAKERS, len(breakers_open))


def _summary(result: CheckResult) -> dict[str, Any]:
    return {
        "status": "healthy" if result.is_healthy else "unhealthy",
        "latency_ms": result.latency_ms,
        "error": result.error,
    }


def scheduled_handler() -> Callable[[object, object], dict[str, Any]]:
    """The function's entry point. Its event loop is kept from one invocation to the next, because the HTTP clients
    belong to it.

    Raises `ConfigError` in Lambda's init phase when the configuration cannot be used.
    """
    made = bridge()
    loop = asyncio.new_event_loop()

    def handler(_event: object, _context: object) -> dict[str, Any]:
        return loop.run_until_complete(check_all(made))

    return handler
