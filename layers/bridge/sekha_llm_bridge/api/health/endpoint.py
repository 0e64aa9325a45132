"""Health: what the last scheduled checks found and how the breakers stand. It calls no provider."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge import __version__
from sekha_llm_bridge.api.app import bridge_of, json_response
from sekha_llm_bridge.aws.table_time_budget import TableTimeBudget
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import PendingWritesUnavailable
from sekha_llm_bridge.providers import has_adapter
from sekha_llm_bridge.resilience import DEFAULT_PATIENCE_S, Breaker, BreakerState, CheckResult, ProviderRecord

_FRESH = {"cache-control": "no-store"}


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
    """What the table says, or where it does not answer soon, what was last known."""
    records = await bridge.breakers.read_now()
    configs, now = bridge.settings.providers, bridge.clock.now()
    rows = {config.id: _row(config, records.get(config.id, ProviderRecord()), now) for config in configs}
    usable = [rows[config.id]["status"] for config in configs if has_adapter(config.provider_type)]
    pending = await _pending(bridge)
    notes = [*_notes(records.values(), now, bridge), *_notes_on_vectors(pending)]
    vectors = {"pending": pending}
    report = {"status": overall(usable, notes), "version": __version__, "providers": rows, "vectors": vectors}
    return report | ({"notes": notes} if notes else {})


def _notes(records: Iterable[ProviderRecord], now: datetime, bridge: Bridge) -> Iterator[str]:
    """Why the report may not be the whole truth."""
    if bridge.breakers.is_table_unavailable:
        yield "the table of the breakers did not answer: this is what was last known"
    elif any(record.check and not record.fresh_check(now) for record in records):
        yield "the scheduled check has not run for minutes"


async def _pending(bridge: Bridge) -> int | None:
    """How many vectors wait for Chroma; None where nobody knows, or nothing can wait."""
    pending_writes = bridge.vectors().pending_writes
    if pending_writes is None:
        return None
    try:
        budget = TableTimeBudget(DEFAULT_PATIENCE_S, bridge.clock)
        return sum((await budget.wait_for(pending_writes.counts())).values())
    except (PendingWritesUnavailable, TimeoutError):
        return None


def _notes_on_vectors(pending: int | None) -> Iterator[str]:
    if pending:
        yield f"Chroma could not take vectors: {pending} wait to be stored"


def overall(statuses: Collection[str], notes: Collection[str]) -> str:
    """Healthy when nothing is known to be wrong; unhealthy when no provider can be expected to answer."""
    if not statuses or set(statuses) == {"unhealthy"}:
        return "unhealthy"
    return "degraded" if notes or {"unhealthy", "degraded"} & set(statuses) else "healthy"


def _row(config: ProviderConfig, record: ProviderRecord, now: datetime) -> dict[str, Any]:
    check = record.fresh_check(now)
    return {
        "status": _status(record, check),
        "models_count": len({model.model_id for model in config.models}),
        "circuit_breaker": _breaker(record.breaker),
        "latency_ms": check.latency_ms if check else None,
        "last_checked": _iso(record.check.checked_at if record.check else None),
        "error": check.error if check else None,
    }


def _breaker(breaker: Breaker) -> dict[str, Any]:
    """`cause` and `retry_at`, when a probe may start, only while it is not closed."""
    shown = {
        "state": breaker.state.value,
        "failure_count": breaker.failure_count,
        "last_failure": _iso(breaker.last_failure),
    }
    if breaker.state is BreakerState.CLOSED:
        return shown
    return {**shown, "cause": breaker.cause, "retry_at": _iso(breaker.retry_at)}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _status(record: ProviderRecord, check: CheckResult | None) -> str:
    """By the breaker, then by the last check: a check that was refused does not say that requests would be. `unknown`
    before the first check, and when the last one was long ago.
    """
    if record.breaker.state is not BreakerState.CLOSED:
        return "unhealthy" if record.breaker.state is BreakerState.OPEN else "degraded"
    if check is None:
        return "unknown"
    if check.is_healthy:
        return "healthy"
    return "unhealthy" if check.is_conclusive else "degraded"
