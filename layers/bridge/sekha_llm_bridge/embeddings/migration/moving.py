"""Moves the collections of older versions of the bridge to the names that they should have.

If the new name is free, the collection is renamed. That is one request, whatever the collection holds, and writers that
use its id continue to write to it. If the name is taken, the records that the collection of that name does not have are
copied into it, and the old collection is deleted. If both have a record with the same id, the target's stays. So if a
record of the old collection is replaced after it was copied, the new version is lost.

A migration can be killed at any moment and run again, and two at the same time have the same result as one. All its
state is in the collections.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from sekha_llm_bridge.embeddings.chroma_collection import ServerCollection
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.copying import CopyPass
from sekha_llm_bridge.embeddings.migration.plan import (
    GONE,
    Failed,
    MigrationAction,
    PlannedMigration,
    Skipped,
    in_migration_order,
    merge_obstacle,
    plan_collection,
    skipped_as_renamed,
)
from sekha_llm_bridge.embeddings.spaces import SPACE_KEY, EmbeddingSpace, space_of, with_space
from sekha_llm_bridge.embeddings.store import CollectionMissing, NameTaken, StoreDown, StoreFailed

KEPT_KEY = "kept_by_migration"
"""A key in the metadata of a collection that was merged and must not be deleted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The first `done` of the collection's `total` records are in `target`."""

    collection: str
    target: str
    how: MigrationAction
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Migrated:
    """All `records` of the collection are in `target`; `copied` of them were copied by this run.

    `kept`: the old collection still exists, with the same records.
    """

    collection: str
    target: str
    how: MigrationAction
    records: int
    copied: int = 0
    kept: bool = False


Outcome = Migrated | Skipped | Failed


def migrate(
    server: ChromaServer, default: EmbeddingSpace | None, *, keep: bool = False, respects_keep_marks: bool = False
) -> Iterator[Progress | Outcome]:
    """Migrates every collection. Yields the progress after each page, and an outcome for each collection.

    The caller may stop after any event. `default` is the space of collections that do not record one. With `keep`,
    merged collections are marked and not deleted; with `respects_keep_marks`, those that an earlier run has marked are
    not deleted either. A failed collection does not stop the others. Raises `StoreFailed` if they cannot be listed.
    """
    for collection in in_migration_order(server):
        yield from _Migration(server, default, collection, keep=keep, respects_keep_marks=respects_keep_marks).run()


class _Migration:
    """The migration of one collection."""

    def __init__(
        self,
        server: ChromaServer,
        default: EmbeddingSpace | None,
        old: ServerCollection,
        *,
        keep: bool,
        respects_keep_marks: bool,
    ) -> None:
        self._server = server
        self._default = default
        self._old = old
        self._name = old.name  # the name of `old` changes when it is renamed
        self._keep = keep
        self._respects_keep_marks = respects_keep_marks

    def run(self) -> Iterator[Progress | Outcome]:
        """Yields the progress, and the outcome at last."""
        target = None
        try:
            current = self._server.find(self._name)  # the list of collections may be hours old
            if current is None or current.id != self._old.id:
                yield Skipped(self._name, GONE)
                return
            self._old = current
            self._keep = self._keep or (self._respects_keep_marks and KEPT_KEY in current.metadata)
            planned = plan_collection(self._old, self._server.find, self._default)
            if not isinstance(planned, PlannedMigration):
                yield planned
                return
            target = planned.target
            yield self._progress(planned, 0, planned.records)
            yield from self._rename(planned) if planned.how is MigrationAction.RENAME else self._merge(planned)
        except StoreFailed as exc:
            yield Failed(self._name, target, str(exc))

    def _rename(self, planned: PlannedMigration) -> Iterator[Progress | Outcome]:
        """Renames the collection, or merges it if a collection of the new name was created in the meantime."""
        try:
            self._old.rename(planned.target, metadata=self._with_space(self._old))
        except NameTaken:
            yield from self._merge(replace(planned, how=MigrationAction.MERGE))
        except CollectionMissing:
            yield self._outcome_of_missing(planned)
        except StoreDown:
            found = self._server.find(planned.target)  # perhaps it was renamed, and only the response was lost
            if found is None or found.id != self._old.id:
                raise
            yield Migrated(self._name, planned.target, MigrationAction.RENAME, planned.records)
        else:
            yield Migrated(self._name, planned.target, MigrationAction.RENAME, planned.records)

    def _merge(self, planned: PlannedMigration) -> Iterator[Progress | Outcome]:
        try:
            target = self._server.find(planned.target)
            if target is None:
                yield self._outcome_of_missing(planned)
            elif target.id == self._old.id:
                yield skipped_as_renamed(self._name, planned.target)
            elif obstacle := merge_obstacle(self._old, target, self._default):
                yield Failed(self._name, planned.target, obstacle)
            else:
                yield from self._merge_into(target, planned)
        except CollectionMissing:
            yield self._outcome_of_missing(planned)
        except StoreFailed as exc:  # Chroma also fails so if a collection is deleted while it reads
            yield self._outcome_of_missing(planned, otherwise=str(exc))

    def _merge_into(self, target: ServerCollection, planned: PlannedMigration) -> Iterator[Progress | Outcome]:
        """Copies the old collection in passes, until a pass finds that nothing of the pass before is missing.

        The deletion directly follows the last read of the old collection; Chroma cannot delete on a condition. A record
        that is written to the old collection's id between these two requests is lost. One that is written earlier is
        copied; the writer of a later one gets an error.
        """
        self._record_space(target)
        seen, copied = 0, 0
        unstorable_ids: set[str] = set()
        for number in count():
            copy_pass = CopyPass(self._old, target, seen_before=seen, unstorable_ids=unstorable_ids)
            for page in copy_pass.pages():
                copied += page.copied
                done = max(seen, page.seen)
                yield self._progress(planned, done, max(done, planned.records))
            if number and not copy_pass.missing_again and not copy_pass.has_skipped:
                break
            seen = copy_pass.seen
            if target.count() < seen - len(unstorable_ids):
                reason = f"records of {planned.target} were deleted during the migration: run it again"
                yield Failed(self._name, planned.target, reason)
                return
        yield self._finish(planned, copy_pass.seen, copied=copied, unstorable=len(unstorable_ids))

    def _finish(self, planned: PlannedMigration, records: int, *, copied: int, unstorable: int) -> Outcome:
        """Deletes the old collection, unless it is to be kept or the target cannot store all its records.

        Chroma deletes by name, not by id. So the name is looked up again directly before.
        """
        if unstorable:
            reason = f"{planned.target} cannot store the vectors of {unstorable} of its records (too long or too short)"
            return Failed(self._name, planned.target, f"{reason}; the others are in both")
        found = self._server.find(self._name)
        if found is None or found.id != self._old.id:
            reason = f"another process has renamed or deleted it; its records are in {planned.target}"
            return Skipped(self._name, reason)
        if not self._keep:
            self._server.delete(self._name)
        elif KEPT_KEY not in self._old.metadata:
            self._old.replace_metadata({**self._old.metadata, KEPT_KEY: True})
        return Migrated(self._name, planned.target, MigrationAction.MERGE, records, copied, self._keep)

    def _outcome_of_missing(self, planned: PlannedMigration, *, otherwise: str | None = None) -> Outcome:
        """Returns the outcome of a failure after which one of the two collections may be missing.

        `otherwise` is the reason if the old one exists. Raises `StoreFailed`.
        """
        has_target = self._server.find(planned.target) is not None
        try:
            self._old.count()
        except CollectionMissing:
            if has_target:
                return Skipped(self._name, GONE)
            reason = f"it was deleted during the migration, and there is no {planned.target}"
            return Failed(self._name, planned.target, reason)
        reason = otherwise or f"{planned.target} was deleted during the migration: run it again"
        return Failed(self._name, planned.target, reason)

    def _record_space(self, target: ServerCollection) -> None:
        """Records the target's space in its metadata, if the space of one of the two collections is known."""
        wanted = self._with_space(target, otherwise=self._with_space(self._old).get(SPACE_KEY))
        if wanted != target.metadata:
            target.replace_metadata(wanted)

    def _with_space(self, collection: ServerCollection, *, otherwise: str | None = None) -> dict[str, Any]:
        dimension, metadata = self._old.dimension or 0, collection.metadata
        return with_space(metadata, space_of(metadata, dimension, self._default) or otherwise, dimension)

    def _progress(self, planned: PlannedMigration, done: int, total: int) -> Progress:
        return Progress(self._name, planned.target, planned.how, done, total)
