"""The migration of collections as a function: on a schedule, and on demand with `{"dry_run": true, "keep": true}`.

A run ends before the function's time is up, and the next one continues.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.lease import DynamoLease, Lease, NoLease
from sekha_llm_bridge.embeddings.migration.run import MigrationReport, migrate_all, plan_only
from sekha_llm_bridge.embeddings.store import StoreFailed
from sekha_llm_bridge.jobs.handler import Invocation
from sekha_llm_bridge.observability import logger

_CHROMA_TIMEOUT_S, _MAX_ATTEMPTS = 30.0, 4
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
    table = os.environ.get("STATE_TABLE", "")
    report = await migrate(bridge, request, table=table, has_time=lambda: invocation.remaining_s > _MARGIN_S)
    log_report(report)
    return dict(report.as_json())


async def migrate(
    bridge: Bridge, request: MigrationRequest, *, table: str, has_time: Callable[[], bool]
) -> MigrationReport:
    """One run on the bridge's Chroma server, under the lease in `table`; without a table nobody else migrates.

    It raises nothing for what can be reported.
    """
    if not bridge.settings.chroma.url:
        return MigrationReport(note="no Chroma server is configured: there is nothing to migrate")
    try:
        default = bridge.vectors().default_space
        server = ChromaServer(
            bridge.settings.chroma, timeout_s=_CHROMA_TIMEOUT_S, max_attempts=_MAX_ATTEMPTS, clock=bridge.clock
        )
        if request.dry_run:
            return await plan_only(server, default, keep=request.keep)
        lease: Lease = DynamoLease(table, bridge.connections, bridge.clock) if table else NoLease()
        return await migrate_all(server, default, lease, keep=request.keep, respects_keep_marks=True, has_time=has_time)
    except StoreFailed as exc:
        return MigrationReport(finished=False, note=f"the collections cannot be listed: {exc}", dry_run=request.dry_run)


def log_report(report: MigrationReport) -> None:
    """One log line: names, counts and reasons; a warning where something is left to be done."""
    say = logger().info if report.is_success else logger().warning
    say(
        "migration of collections",
        extra={
            "moved": {one.collection: f"{one.target} ({one.how}, {one.records} records)" for one in report.migrated},
            "failed": {one.collection: one.reason for one in report.failed},
            "left_alone": len(report.left_alone),
            "finished": report.finished,
            "note": report.note,
        },
    )
