"""Health: the results of the last scheduled check and the states of the breakers. It calls no provider."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge import __version__
from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.known_caller import known_caller
from sekha_llm_bridge.api.request_path import sent_path
from sekha_llm_bridge.api.request_state import bridge_of, whole_bridge_of
from sekha_llm_bridge.aws.table_time_budget import TableTimeBudget
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import PendingWritesUnavailable
from sekha_llm_bridge.resilience import (
    DEFAULT_TABLE_TIMEOUT_S,
    DISABLED,
    PENDING,
    Breaker,
    BreakerState,
    CheckResult,
    ProviderRecord,
)

_NO_CACHE = {"cache-control": "no-store"}


async def overview(request: Request) -> Response:
    """`GET /api/v1/health`: 200, or 503 when no provider is expected to answer."""
    body = await _visible_report(request)
    return json_response(body, status=503 if body["status"] == "unhealthy" else 200, headers=_NO_CACHE)


async def redirect(request: Request) -> Response:
    """`GET /health`: a 307 to the new path, with the same body for clients that do not follow redirects. The location
    is relative, because a stage or a base path may precede the path. With `health.redirect: false` it is the answer of
    the new path itself.
    """
    if not whole_bridge_of(request).settings.health.redirect:
        return await overview(request)
    body = await _visible_report(request)
    event = request.scope.get("aws.event") or {}
    location = "../api/v1/health" if sent_path(event).endswith("/") else "api/v1/health"
    return json_response(body, status=307, headers={"location": location, **_NO_CACHE})


async def providers(request: Request) -> Response:
    """`GET /api/v1/health/providers`: the providers, with totals of those in use. It needs a key where keys are."""
    body = await health_report(bridge_of(request))
    rows: Mapping[str, Mapping[str, Any]] = body["providers"]
    in_use = [row for row in rows.values() if row["status"] != DISABLED]
    return json_response(
        {
            "providers": rows,
            "total_providers": len(in_use),
            "healthy_providers": sum(row["status"] == "healthy" for row in in_use),
            "total_models": sum(row["models_count"] for row in in_use),
        },
        headers=_NO_CACHE,
    )


async def _visible_report(request: Request) -> dict[str, Any]:
    bridge, caller = whole_bridge_of(request), await known_caller(request)
    if caller is None:
        return await report_for_unknown_caller(bridge)
    return await health_report(bridge.for_caller(caller))


async def report_for_unknown_caller(bridge: Bridge) -> dict[str, Any]:
    """Returns what everybody may see: status and version, by what was read in the last seconds, so that a flood of
    requests without a key costs no flood of reads. Vectors that wait to be stored are not counted.
    """
    await bridge.breakers.session()
    records, now = bridge.breakers.records, bridge.clock.now()
    statuses = _statuses(_rows(bridge, records, now), bridge)
    status = overall(statuses, list(_notes(records.values(), now, bridge)))
    return {"status": status, "version": __version__}


async def health_report(bridge: Bridge) -> dict[str, Any]:
    """Returns the health by the table; where that does not answer in time, by what was last read. Clients of v1 read
    `models_loaded`.
    """
    records = await bridge.breakers.read_now()
    now = bridge.clock.now()
    rows = _rows(bridge, records, now)
    statuses = _statuses(rows, bridge)
    pending = await _pending(bridge)
    notes = list(_notes(records.values(), now, bridge))
    if pending:
        notes.append(f"Chroma could not take vectors: {pending} wait to be stored")
    vectors = {"pending": pending}
    shown = rows | _disabled_rows(bridge)
    report = {"status": overall(statuses, notes), "version": __version__, "providers": shown, "vectors": vectors}
    report["models_loaded"] = list(bridge.catalog.model_ids())
    return report | ({"notes": notes} if notes else {})


def _visible_providers(bridge: Bridge) -> list[ProviderConfig]:
    """Returns the providers that have a model for the caller."""
    known = {entry.provider.id for entry in bridge.catalog.models}
    providers = bridge.settings.providers
    return [config for config in providers if config.id in known] if bridge.is_restricted else list(providers)


def _notes(records: Iterable[ProviderRecord], now: datetime, bridge: Bridge) -> Iterator[str]:
    """Yields the reasons why the report may be out of date."""
    if bridge.breakers.is_table_unavailable:
        yield "the table of the breakers did not answer: this is what was last known"
    elif any(record.check and not record.fresh_check(now) for record in records):
        yield "the scheduled check has not run for minutes"


async def _pending(bridge: Bridge) -> int | None:
    """Returns how many vectors wait for Chroma; None where that is unknown, or where no queue is configured."""
    pending_writes = bridge.vectors().pending_writes
    if pending_writes is None:
        return None
    try:
        budget = TableTimeBudget(DEFAULT_TABLE_TIMEOUT_S, bridge.clock)
        return sum((await budget.wait_for(pending_writes.counts())).values())
    except (PendingWritesUnavailable, TimeoutError):
        return None


def overall(statuses: Collection[str], notes: Collection[str]) -> str:
    """Returns healthy when nothing is known to be wrong, unhealthy when no provider is expected to answer."""
    if not set(statuses) - {"unhealthy", DISABLED, PENDING}:
        return "unhealthy"
    return "degraded" if notes or {"unhealthy", "degraded", DISABLED, PENDING} & set(statuses) else "healthy"


def _statuses(rows: Mapping[str, Mapping[str, Any]], bridge: Bridge) -> list[str]:
    """Returns what the status of the whole depends on. A provider whose variable is not set does not count: that may be
    on purpose.
    """
    missing = [DISABLED for one in bridge.settings.disabled if one.is_secret_missing]
    return [*(row["status"] for row in rows.values()), *missing]


def _disabled_rows(bridge: Bridge) -> dict[str, dict[str, Any]]:
    """Returns the rows of the providers that this function knows to be disabled; none for a caller who may use only
    some models.
    """
    if bridge.is_restricted:
        return {}
    return {
        one.config.id: _row(
            ProviderRecord(), bridge.clock.now(), n_models=len({model.model_id for model in one.config.models})
        )
        | {"status": DISABLED, "error": DISABLED, "reason": one.reason}
        for one in bridge.settings.disabled
    }


def _rows(bridge: Bridge, records: Mapping[str, ProviderRecord], now: datetime) -> dict[str, dict[str, Any]]:
    configs = _visible_providers(bridge)
    models = Counter(provider_id for provider_id, _ in {entry.key for entry in bridge.catalog.models})
    rows = {
        config.id: _row(records.get(config.id, ProviderRecord()), now, n_models=models[config.id]) for config in configs
    }
    for provider_id in rows.keys() & bridge.settings.pending.keys():
        rows[provider_id] |= {"status": PENDING, "error": PENDING, "reason": bridge.settings.pending[provider_id]}
    return rows


def _row(record: ProviderRecord, now: datetime, *, n_models: int) -> dict[str, Any]:
    check = record.fresh_check(now)
    reason = {"reason": check.unusable_because} if check and check.unusable_because else {}
    return {
        "status": _status(record, check),
        "models_count": n_models,
        "circuit_breaker": _breaker(record.breaker),
        "latency_ms": check.latency_ms if check else None,
        "last_checked": _iso(record.check.checked_at if record.check else None),
        "error": check.error if check else None,
        **reason,
    }


def _breaker(breaker: Breaker) -> dict[str, Any]:
    """Returns a breaker as callers see it; `cause` and `retry_at` (when a probe may start) only while it is not
    closed."""
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
    """Returns the status by the breaker, then by the last check. A check that was rejected leaves open whether requests
    would be: `degraded`. Before the first check, and after a check too long ago: `unknown`. `disabled` and `pending`
    are providers that the check found without their secret.
    """
    if check is not None and check.unusable_because:
        return check.error or DISABLED
    if record.breaker.state is not BreakerState.CLOSED:
        return "unhealthy" if record.breaker.state is BreakerState.OPEN else "degraded"
    if check is None:
        return "unknown"
    if check.is_healthy:
        return "healthy"
    return "unhealthy" if check.is_conclusive else "degraded"
