"""The scheduled check: asks every provider for its model list, all at the same time, and records who answered."""

import asyncio
from collections.abc import Callable
from typing import Any

from sekha_llm_bridge.bootstrap import Bridge, bridge
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import BridgeError, ProviderTimeout
from sekha_llm_bridge.observability import logger, where
from sekha_llm_bridge.providers import has_adapter
from sekha_llm_bridge.resilience import CheckResult
from sekha_llm_bridge.resilience.records import StoreUnavailable

PROBE_S = 5.0


async def check_all(bridge: Bridge) -> dict[str, Any]:
    """Probes every provider that has an adapter; one that hangs delays nobody. Returns id → status and latency."""
    configs = [config for config in bridge.settings.providers if has_adapter(config.provider_type)]
    results = await asyncio.gather(*(_check(config, bridge) for config in configs))
    await _record(results, bridge)
    unhealthy = {result.provider_id: result.error for result in results if not result.healthy}
    logger().info("health check", extra={"providers": len(results), "unhealthy": unhealthy})
    return {result.provider_id: _summary(result) for result in results}


async def _check(config: ProviderConfig, bridge: Bridge) -> CheckResult:
    started_s = bridge.clock.monotonic_s()
    error = await _probe(config.id, bridge)
    latency_ms = round((bridge.clock.monotonic_s() - started_s) * 1000)
    return CheckResult(
        provider_id=config.id,
        healthy=error is None,
        latency_ms=latency_ms if error is None else None,
        checked_at=bridge.clock.now(),
        error=error,
    )


async def _probe(provider_id: str, bridge: Bridge) -> str | None:
    """The code of what went wrong, or None."""
    try:
        async with asyncio.timeout(PROBE_S):
            await bridge.providers.get(provider_id).probe(timeout_s=PROBE_S)
    except TimeoutError:
        return ProviderTimeout.code
    except BridgeError as exc:
        return exc.code
    except Exception as exc:  # noqa: BLE001 — a mistake in one adapter must not cost the others their check
        logger().error("unexpected error in a check", extra={"provider": provider_id, "where": where(exc)})
        return BridgeError.code
    return None


async def _record(results: list[CheckResult], bridge: Bridge) -> None:
    """Keeps what was found; at the first sign that the store does not answer, gives up until the next check."""
    try:
        async with asyncio.TaskGroup() as writes:
            for result in results:
                writes.create_task(asyncio.to_thread(bridge.health.record_check, result))
    except* StoreUnavailable as failures:
        logger().warning("health store unavailable", extra={"reason": str(failures.exceptions[0])})


def _summary(result: CheckResult) -> dict[str, Any]:
    return {
        "status": "healthy" if result.healthy else "unhealthy",
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
