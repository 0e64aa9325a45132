"""The migration of collections as a function: on a schedule, and on demand with `{"dry_run": true, "keep": true}`.

A run ends before the function's time is up, and the next one goes on from there.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from sekha_llm_bridge.bootstrap import Bridge, bridge
from sekha_llm_bridge.bootstrap.vectors import make_migration
from sekha_llm_bridge.embeddings.migration.run import MigrationReport, migrate_all, plan_only
from sekha_llm_bridge.embeddings.store import StoreFailed
from sekha_llm_bridge.observability import logger

_MARGIN_MS = 90_000  # what is killed all the same is gone on with


class Wish(BaseModel):
    """What the event asks for. What it does not know is refused: a misspelt `dry_run` would migrate."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False
    keep: bool = False


class Remaining(Protocol):
    """Of Lambda's context, the time."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still run."""
        ...


async def migrate(bridge: Bridge, wish: Wish, *, table: str, has_time: Callable[[], bool]) -> MigrationReport:
    """One run on the bridge's Chroma server, under the lease in `table`; without a table nobody else migrates.

    It raises nothing for what can be reported.
    """
    if not bridge.settings.chroma.url:
        return MigrationReport(note="no Chroma server is configured: there is nothing to migrate")
    try:
        parts = make_migration(bridge, table=table)
        if wish.dry_run:
            return await plan_only(parts.server, parts.default_space, keep=wish.keep)
        return await migrate_all(
            parts.server,
            parts.default_space,
            parts.lease,
            keep=wish.keep,
            respects_keep_marks=True,
            has_time=has_time,
        )
    except StoreFailed as exc:
        return MigrationReport(finished=False, note=f"the collections cannot be listed: {exc}", dry_run=wish.dry_run)


def tell(report: MigrationReport) -> None:
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


def migration_handler(table: str) -> Callable[[object, Remaining], Mapping[str, Any]]:
    """The function's entry point. Its event loop is kept from one invocation to the next, because the connections
    belong to it.

    Raises `ConfigError` in Lambda's init phase when the configuration cannot be used, and `ValidationError` for an
    event that asks for something which is neither true nor false.
    """
    made = bridge()
    loop = asyncio.new_event_loop()

    def handler(event: object, context: Remaining) -> Mapping[str, Any]:
        wish = Wish.model_validate(event if isinstance(event, Mapping) else {})
        report = loop.run_until_complete(migrate(made, wish, table=table, has_time=lambda: _has_time(context)))
        tell(report)
        return report.as_json()

    return handler


def _has_time(context: Remaining) -> bool:
    return context.get_remaining_time_in_millis() > _MARGIN_MS
