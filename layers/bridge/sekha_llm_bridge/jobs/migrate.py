"""The migration of collections as a function: on a schedule, and on demand with `{"dry_run": true, "keep": true}`.

A run ends before the function's time is up, and the next one continues.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.bootstrap.background import make_migration
from sekha_llm_bridge.embeddings.migration.run import MigrationReport, migrate_all, plan_only
from sekha_llm_bridge.embeddings.store import StoreFailed
from sekha_llm_bridge.jobs.handler import Invocation
from sekha_llm_bridge.observability import logger

_MARGIN_S = 90.0  # a run that Lambda ends all the same is continued by the next one


class MigrationRequest(BaseModel):
    """The event. Unknown fields are refused: with a misspelt `dry_run` the function would migrate."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False
    keep: bool = False


async def run(bridge: Bridge, invocation: Invocation) -> dict[str, Any]:
    """Migrates until shortly before the invocation ends; logs and returns the report.

    Raises `ValidationError` for an event that requests something else than `MigrationRequest` has.
    """
    event = invocation.event
    request = MigrationRequest.model_validate(event if isinstance(event, Mapping) else {})
    report = await migrate(bridge, request, has_time=lambda: invocation.remaining_s > _MARGIN_S)
    log_report(report)
    return dict(report.as_json())


async def migrate(bridge: Bridge, request: MigrationRequest, *, has_time: Callable[[], bool]) -> MigrationReport:
    """Runs one migration on the bridge's Chroma server, under a lease. Begins no collection once `has_time` is False.

    Returns the report; failures are reported there, not raised.
    """
    if not bridge.settings.chroma.url:
        return MigrationReport(note="no Chroma server is configured: there is nothing to migrate")
    try:
        parts = make_migration(bridge)
        if request.dry_run:
            return await plan_only(parts.server, parts.default_space, keep=request.keep)
        return await migrate_all(
            parts.server,
            parts.default_space,
            parts.lease,
            keep=request.keep,
            respects_keep_marks=True,
            has_time=has_time,
        )
    except StoreFailed as exc:
        return MigrationReport(finished=False, note=f"the collections cannot be listed: {exc}", dry_run=request.dry_run)


def log_report(report: MigrationReport) -> None:
    """Writes one log line with names, counts and reasons; a warning where something is left to do."""
    log = logger().info if report.is_success else logger().warning
    log(
        "migration of collections",
        extra={
            "moved": {one.collection: f"{one.target} ({one.how}, {one.records} records)" for one in report.migrated},
            "failed": {one.collection: one.reason for one in report.failed},
            "left_alone": len(report.left_alone),
            "finished": report.finished,
            "note": report.note,
        },
    )
