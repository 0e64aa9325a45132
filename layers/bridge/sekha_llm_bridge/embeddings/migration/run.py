"""One run of the migration: it holds the lease, stops when its time is over, and returns a report."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.lease import Lease, LeaseUnavailable
from sekha_llm_bridge.embeddings.migration.moving import Migrated, Outcome, Progress, migrate
from sekha_llm_bridge.embeddings.migration.plan import Failed, PlannedMigration, Skipped, plan
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace

T = TypeVar("T")
Event = Progress | Outcome


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """The outcome of each collection; in a dry run `planned` ones. `left_alone` are those that were skipped.

    `finished` is False if the run stopped before the last collection. `note` says why, or has other information.
    """

    migrated: Sequence[Migrated] = ()
    planned: Sequence[PlannedMigration] = ()
    left_alone: Sequence[Skipped] = ()
    failed: Sequence[Failed] = ()
    finished: bool = True
    note: str | None = None
    dry_run: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the run finished and no collection failed."""
        return self.finished and not self.failed

    def as_json(self) -> dict[str, Any]:
        """Returns the report for scripts. It has `planned` only for a dry run."""
        fields = asdict(self)
        return fields if self.dry_run else {name: value for name, value in fields.items() if name != "planned"}


def report_from(
    outcomes: Iterable[PlannedMigration | Outcome],
    *,
    finished: bool = True,
    note: str | None = None,
    dry_run: bool = False,
) -> MigrationReport:
    """Returns a report of the outcomes, sorted by collection."""
    ordered = sorted(outcomes, key=lambda one: one.collection)
    return MigrationReport(
        migrated=[one for one in ordered if isinstance(one, Migrated)],
        planned=[one for one in ordered if isinstance(one, PlannedMigration)],
        left_alone=[one for one in ordered if isinstance(one, Skipped)],
        failed=[one for one in ordered if isinstance(one, Failed)],
        finished=finished,
        note=note,
        dry_run=dry_run,
    )


async def plan_only(server: ChromaServer, default: EmbeddingSpace | None, *, keep: bool = False) -> MigrationReport:
    """Returns what a run would do now. Writes nothing, so it needs no lease. Raises `StoreFailed`."""
    planned = await asyncio.to_thread(lambda: list(plan(server, default, keep=keep)))
    return report_from(planned, dry_run=True, note="a dry run: nothing was written")


async def migrate_all(
    server: ChromaServer,
    default: EmbeddingSpace | None,
    lease: Lease,
    *,
    keep: bool = False,
    respects_keep_marks: bool = False,
    has_time: Callable[[], bool] = lambda: True,
    on_event: Callable[[Event], object] = lambda _event: None,
) -> MigrationReport:
    """Migrates every collection; calls `on_event` with each event. Does nothing without the lease.

    Stops after a page if `has_time` returns False or the lease is lost; the next run continues. Raises `StoreFailed` if
    the collections cannot be listed.
    """
    try:
        holder = await lease.acquire()
    except LeaseUnavailable as exc:
        return MigrationReport(finished=False, note=f"the lease is not available, so nothing was migrated: {exc}")
    if holder is not None:
        return MigrationReport(finished=False, note=f"another migration is running: {holder}")
    try:
        events = migrate(server, default, keep=keep, respects_keep_marks=respects_keep_marks)
        return await _run_events(events, lease, has_time=has_time, on_event=on_event)
    finally:
        await lease.release()


async def _run_events(
    events: Iterator[Event], lease: Lease, *, has_time: Callable[[], bool], on_event: Callable[[Event], object]
) -> MigrationReport:
    outcomes: list[Outcome] = []
    while (event := await _next(events)) is not None:
        on_event(event)
        if not isinstance(event, Progress):
            outcomes.append(event)
        if not await lease.renew():
            return report_from(outcomes, finished=False, note=f"the lease was lost, so it stopped {_place(event)}")
        if not has_time():
            return report_from(outcomes, finished=False, note=f"time was up, so it stopped {_place(event)}")
    return report_from(outcomes)


def _place(event: Event) -> str:
    if isinstance(event, Progress):
        return f"in {event.collection}, {event.done} of {event.total} records: run it again"
    return f"after {event.collection}: run it again"


async def _next(events: Iterator[T]) -> T | None:
    """Returns the next event, None at the end.

    If it is cancelled, it first waits for the event: a thread cannot be stopped, and it must not continue after the
    lease is released.
    """
    step = asyncio.ensure_future(asyncio.to_thread(next, events, None))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise
