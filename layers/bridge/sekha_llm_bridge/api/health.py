"""Health: what the last scheduled checks found and how the breakers stand. It calls no provider."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge import __version__
from sekha_llm_bridge.api.app import bridge_of, json_response
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.resilience import ProviderRecord
from sekha_llm_bridge.resilience.records import BreakerState, StoreUnavailable

_FRESH = {"cache-control": "no-store"}
_READ_S = 2.0


async def overview(request: Request) -> Response:
    """`GET /api/v1/health`: 200, or 503 when no provider can be expected to answer."""
    body = await _report(bridge_of(request))
    return json_response(body, status=503 if body["status"] == "unhealthy" else 200, headers=_FRESH)


async def redirect(request: Request) -> Response:
    """`GET /health`: 307 to the new place, with the same body for those who do not follow. The address is relative
    because a stage or a mapping may stand before the path.
    """
    body = await _report(bridge_of(request))
    return json_response(body, status=307, headers={"location": "api/v1/health", **_FRESH})


async def providers(request: Request) -> Response:
    """`GET /api/v1/health/providers`: the same, counted."""
    body = await _report(bridge_of(request))
    rows: Mapping[str, Mapping[str, Any]] = body["providers"]
    return json_response(
        {
            "providers": rows,
            "total_providers": len(rows),
            "healthy_providers": sum(row["status"] == "healthy" for row in rows.values()),
            "total_models": sum(row["models_count"] for row in rows.values()),
        },
        headers=_FRESH,
    )


async def _report(bridge: Bridge) -> dict[str, Any]:
    configs = bridge.settings.providers
    records = await _records([config.id for config in configs], bridge)
    rows = {config.id: _row(config, records.get(config.id, ProviderRecord())) for config in configs}
    return {"status": overall([row["status"] for row in rows.values()]), "version": __version__, "providers": rows}


async def _records(provider_ids: list[str], bridge: Bridge) -> Mapping[str, ProviderRecord]:
    """What is stored of each provider; nothing when the store does not answer soon, which is no reason to fail."""
    try:
        async with asyncio.timeout(_READ_S):
            return await asyncio.to_thread(bridge.health.read, provider_ids)
    except (StoreUnavailable, TimeoutError) as exc:
        logger().warning("health store unavailable", extra={"reason": str(exc) or "no answer in time"})
        return {}


def overall(statuses: list[str]) -> str:
    """Healthy when nothing is known to be wrong; unhealthy when every provider is."""
    wrong = sum(status == "unhealthy" for status in statuses)
    return "unhealthy" if wrong == len(statuses) else "degraded" if wrong else "healthy"


def _row(config: ProviderConfig, record: ProviderRecord) -> dict[str, Any]:
    check, breaker = record.check, record.breaker
    return {
        "status": _status(record),
        "models_count": len({model.model_id for model in config.models}),
        "circuit_breaker": {
            "state": breaker.state.value,
            "failure_count": breaker.failure_count,
            "last_failure": breaker.last_failure.isoformat() if breaker.last_failure else None,
        },
        "latency_ms": check.latency_ms if check else None,
        "last_checked": check.checked_at.isoformat() if check else None,
    }


def _status(record: ProviderRecord) -> str:
    """`unknown` before the first check."""
    if record.breaker.state is BreakerState.OPEN:
        return "unhealthy"
    if record.check is None:
        return "unknown"
    return "healthy" if record.check.healthy else "unhealthy"
