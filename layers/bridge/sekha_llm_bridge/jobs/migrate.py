"""The migration of collections as a function: on a schedule, and on demand with `{"dry_run": true, "keep": true}`.

It migrates the configured database, or the one that the event names in `tenant` and `database`. A run ends before the
function's time is up, and the next one continues.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sekha_llm_bridge.aws.unknown_event import warn_of_unknown_event
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.bootstrap.background import make_migration
from sekha_llm_bridge.config.models import CHROMA_NAME_PATTERN, ChromaConfig
from sekha_llm_bridge.embeddings import Database
from sekha_llm_bridge.embeddings.migration.run import MigrationReport, migrate_all, plan_only
from sekha_llm_bridge.embeddings.store import StoreFailed
from sekha_llm_bridge.jobs.handler import Invocation
from sekha_llm_bridge.observability import logger

ChromaName = Annotated[str, Field(pattern=CHROMA_NAME_PATTERN)]
_SCHEDULED = "Scheduled Event"  # the detail type of what EventBridge sends by a schedule
_MARGIN_S = 90.0  # a run that Lambda ends all the same is continued by the next one


class MigrationRequest(BaseModel):
    """The event. Unknown fields are refused: with a misspelt `dry_run` the function would migrate.

    `tenant` and `database`: None is the configured one. They are named for the database of an API key.
    """

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False
    keep: bool = False
    tenant: ChromaName | None = None
    database: ChromaName | None = None


async def run(bridge: Bridge, invocation: Invocation) -> dict[str, Any]:
    """Migrates until shortly before the invocation ends; logs and returns the report.

    An event that is neither a schedule's nor a `MigrationRequest` gets a warning and a report that says so: nothing is
    migrated.
    """
    try:
        request = requested(invocation.event)
    except ValueError as exc:
        warn_of_unknown_event(invocation.event, invocation.context)
        return dict(MigrationReport(finished=False, note=f"nothing was done: {exc}").as_json())
    report = await migrate(bridge, request, has_time=lambda: invocation.remaining_s > _MARGIN_S)
    log_report(report)
    return dict(report.as_json())


def requested(event: object) -> MigrationRequest:
    """Returns what an event requests: without a payload, or with a schedule's default event, a migration. Raises
    `ValueError`, whose text names fields but has no value.
    """
    if event is None or (isinstance(event, Mapping) and event.get("detail-type") == _SCHEDULED):
        return MigrationRequest()
    try:
        return MigrationRequest.model_validate(event)
    except ValidationError as exc:
        faults = [f"{'.'.join(map(str, one['loc'])) or 'the event'}: {one['msg']}" for one in exc.errors()]
        raise ValueError(f"the event is no request of a migration ({'; '.join(faults)})") from None


async def migrate(bridge: Bridge, request: MigrationRequest, *, has_time: Callable[[], bool]) -> MigrationReport:
    """Runs one migration on the bridge's Chroma server, under a lease. Begins no collection once `has_time` is False.

    Returns the report; failures are reported there, not raised.
    """
    if not bridge.settings.chroma.url:
        return MigrationReport(note="no Chroma server is configured: there is nothing to migrate")
    try:
        database = _database(request, bridge.settings.chroma)
        parts = make_migration(bridge, database)
        if database is not None and not await asyncio.to_thread(parts.server.has_database):
            note = f"there is no database {database}"
            return MigrationReport(finished=False, note=note, dry_run=request.dry_run)
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


def _database(request: MigrationRequest, chroma: ChromaConfig) -> Database | None:
    if request.tenant is None and request.database is None:
        return None
    return Database(request.tenant or chroma.tenant, request.database or chroma.database)


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
