"""Collections from before dimensions were part of a name get the name that they should have.

A collection whose new name is free is renamed, which is one request whatever it holds; writers that know it by its id
write on into it. If the name is taken, what the other one does not have is copied into it, and the old collection is
deleted. On the same id the target's record stays, so whoever replaces a record of the old collection after it has been
copied is not followed.

It can be killed anywhere and run again, and two at the same time do the same as one. Nothing is remembered but what
the collections hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from sekha_llm_bridge.embeddings.chroma_server import ChromaServer, ServerCollection
from sekha_llm_bridge.embeddings.migration.copying import Pass
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
from sekha_llm_bridge.embeddings.spaces import SPACE_KEY, EmbeddingSpace, space_of, with_space_mark
from sekha_llm_bridge.embeddings.store import CollectionMissing, NameTaken, StoreDown, StoreFailed

KEPT_KEY = "kept_by_migration"
"""In the metadata of a collection that was merged and is to be kept."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection has come: the first `done` of its `total` records are in `target`."""

    collection: str
    target: str
    how: MigrationAction
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Migrated:
    """The records of `collection` are in `target`: `records` in all, of which `copied` had to be copied now. `kept`
    says that they are still in the old collection as well.
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
    """Moves every collection that has to be, and says after each page how far it is; in the end of each collection,
    what became of it. It may be left after any of them.

    `default` is the space of collections that no mark is on. With `keep`, what is merged stays where it is as well, and
    is marked; with `respects_keep_marks`, so does what an earlier run has marked. A collection that fails does not keep
    the others from being moved. Raises `StoreFailed` when they cannot be listed.
    """
    for collection in in_migration_order(server):
        yield from _Migration(server, default, collection, keep=keep, respects_keep_marks=respects_keep_marks).run()


class _Migration:
    """That of one collection; with `respects_keep_marks`, it keeps what an earlier run has been told to keep."""

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
        self._name = old.name  # renaming changes that of the other
        self._keep = keep
        self._obeys_marks = respects_keep_marks

    def run(self) -> Iterator[Progress | Outcome]:
        """Ends with what became of it."""
        target = None
        try:
            newest = self._server.find(self._name)  # the list of them may be hours old
            if newest is None or newest.id != self._old.id:
                yield Skipped(self._name, GONE)
                return
            self._old = newest
            self._keep = self._keep or (self._obeys_marks and KEPT_KEY in newest.metadata)
            step = plan_collection(self._old, self._server.find, self._default)
            if not isinstance(step, PlannedMigration):
                yield step
                return
            target = step.target
            yield self._progress(step, 0, step.records)
            yield from self._rename(step) if step.how is MigrationAction.RENAME else self._merge(step)
        except StoreFailed as exc:
            yield Failed(self._name, target, str(exc))

    def _rename(self, step: PlannedMigration) -> Iterator[Progress | Outcome]:
        """Merges if somebody makes a collection of the new name meanwhile, as the bridge does for its first vectors."""
        try:
            self._old.rename(step.target, metadata=self._marked(self._old))
        except NameTaken:
            yield from self._merge(replace(step, how=MigrationAction.MERGE))
        except CollectionMissing:
            yield self._one_is_gone(step)
        except StoreDown:
            found = self._server.find(step.target)  # the answer may be all that was lost
            if found is None or found.id != self._old.id:
                raise
            yield Migrated(self._name, step.target, MigrationAction.RENAME, step.records)
        else:
            yield Migrated(self._name, step.target, MigrationAction.RENAME, step.records)

    def _merge(self, step: PlannedMigration) -> Iterator[Progress | Outcome]:
        try:
            target = self._server.find(step.target)
            if target is None:
                yield self._one_is_gone(step)
            elif target.id == self._old.id:
                yield skipped_as_renamed(self._name, step.target)
            elif against := merge_obstacle(self._old, target, self._default):
                yield Failed(self._name, step.target, against)
            else:
                yield from self._merge_into(target, step)
        except CollectionMissing:
            yield self._one_is_gone(step)
        except StoreFailed as exc:  # which Chroma says as well of what is deleted while it reads
            yield self._one_is_gone(step, otherwise=str(exc))

    def _merge_into(self, target: ServerCollection, step: PlannedMigration) -> Iterator[Progress | Outcome]:
        """Passes over the old collection until one finds nothing missing of what the pass before it saw.

        Between the last look at the old collection and its deletion lies nothing but the way there and back: Chroma
        cannot delete on a condition. A record that somebody appends by the old collection's id in these milliseconds is
        lost; before them it is copied, after them its writer gets an error.
        """
        self._mark(target)
        known, copied = 0, 0
        unstorable_ids: set[str] = set()
        for number in count():
            one_pass = Pass(self._old, target, known=known, unstorable_ids=unstorable_ids)
            for page in one_pass.pages():
                copied += page.added
                yield self._progress(step, max(known, page.until), max(known, page.until, step.records))
            if number and not one_pass.again and not one_pass.broken:
                break
            known = one_pass.seen
            if target.count() < known - len(unstorable_ids):
                yield Failed(self._name, step.target, f"{step.target} loses records meanwhile: run it again")
                return
        yield self._ended(step, one_pass.seen, copied=copied, unstorable_ids=len(unstorable_ids))

    def _ended(self, step: PlannedMigration, records: int, *, copied: int, unstorable_ids: int) -> Outcome:
        """Deletes the old collection, unless it is to be kept, or the target cannot hold a record as it is. It goes by
        its name, for which Chroma has no other way: so the name is looked up once more.
        """
        if unstorable_ids:
            unstorable = f"the vectors of {unstorable_ids} of its records, which are too long or too short"
            reason = f"{step.target} cannot keep {unstorable}"
            return Failed(self._name, step.target, f"{reason}; the others are in both")
        found = self._server.find(self._name)
        if found is None or found.id != self._old.id:
            return Skipped(self._name, f"somebody else has renamed or deleted it; its records are in {step.target}")
        if not self._keep:
            self._server.delete(self._name)
        elif KEPT_KEY not in self._old.metadata:
            self._old.replace_metadata({**self._old.metadata, KEPT_KEY: True})
        return Migrated(self._name, step.target, MigrationAction.MERGE, records, copied, self._keep)

    def _one_is_gone(self, step: PlannedMigration, *, otherwise: str | None = None) -> Outcome:
        """What a failure means when one of the two may have been deleted; `otherwise`, while the old one is there.
        Raises `StoreFailed`.
        """
        is_there = self._server.find(step.target) is not None
        try:
            self._old.count()
        except CollectionMissing:
            if is_there:
                return Skipped(self._name, GONE)
            return Failed(self._name, step.target, f"it has been deleted meanwhile, and there is no {step.target}")
        return Failed(self._name, step.target, otherwise or f"{step.target} has been deleted meanwhile: run it again")

    def _mark(self, target: ServerCollection) -> None:
        """Records the space of the target, where it is known of either of the two."""
        wanted = self._marked(target, otherwise=self._marked(self._old).get(SPACE_KEY))
        if wanted != target.metadata:
            target.replace_metadata(wanted)

    def _marked(self, collection: ServerCollection, *, otherwise: str | None = None) -> dict[str, Any]:
        dimension, metadata = self._old.dimension or 0, collection.metadata
        return with_space_mark(metadata, space_of(metadata, dimension, self._default) or otherwise, dimension)

    def _progress(self, step: PlannedMigration, done: int, total: int) -> Progress:
        return Progress(self._name, step.target, step.how, done, total)
