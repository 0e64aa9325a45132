"""One run of the migration: under the lease, for as long as there is time, and what it came to."""

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
    """What became of each collection. `finished` is False where some were not come to; `note` says why, or what else
    there is to say. `planned` is not empty in a dry run only.
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
        """Whether nothing failed and nothing was left to be done."""
        return self.finished and not self.failed

    def as_json(self) -> dict[str, Any]:
        """For scripts; `planned` is there in a dry run only."""
        fields = asdict(self)
        return fields if self.dry_run else {name: value for name, value in fields.items() if name != "planned"}


def report_from(
    outcomes: Iterable[PlannedMigration | Outcome],
    *,
    finished: bool = True,
    note: str | None = None,
    dry_run: bool = False,
) -> MigrationReport:
    """The outcomes by their kind, each kind by name."""
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
    """What a run would do now; writes nothing, so it asks for no lease. Raises `StoreFailed`."""
    steps = await asyncio.to_thread(lambda: list(plan(server, default, keep=keep)))
    return report_from(steps, dry_run=True, note="a dry run: nothing was written")


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
    """Migrates every collection that has to be; `on_event` is told of each event.

    Ends early, between two pages, when `has_time` says no or the lease is lost: the next run goes on from there. Does
    nothing where the lease cannot be had. Raises `StoreFailed` when the collections cannot be listed.
    """
    try:
        held = await lease.acquire()
    except LeaseUnavailable as exc:
        return MigrationReport(finished=False, note=f"the lease cannot be had, so nothing was migrated: {exc}")
    if held is not None:
        return MigrationReport(finished=False, note=f"another migration is running: {held}")
    try:
        return await _drive(
            migrate(server, default, keep=keep, respects_keep_marks=respects_keep_marks),
            lease,
            has_time=has_time,
            on_event=on_event,
        )
    finally:
        await lease.release()


async def _drive(
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
    """The next event. Whoever cancels waits for it all the same: a thread cannot be stopped, and must not go on when
    the lease has been given back.
    """
    step = asyncio.ensure_future(asyncio.to_thread(next, events, None))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise
