"""What is to become of each collection: which name it should have, whether that is free, and what stands against it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from sekha_llm_bridge.embeddings.chroma_server import ChromaServer, ServerCollection
from sekha_llm_bridge.embeddings.records import target_collection_name
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace, space_of
from sekha_llm_bridge.embeddings.store import CollectionMissing, StoreFailed

EMPTY = "it is empty"
SUFFIXED = "its name says its dimension already"
GONE = "it is gone: another migration has moved it, or somebody has deleted it"
_LONGEST_NAME = 512  # Chroma's rule


class MigrationAction(StrEnum):
    """How a collection gets to its new name: renamed where that is free, else merged into the one that has it."""

    RENAME = "rename"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class PlannedMigration:
    """The collection `collection`, of `records` records, should be called `target`."""

    collection: str
    target: str
    how: MigrationAction
    records: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing had to be done with `collection`; `reason` says why."""

    collection: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """`collection` is where it was, with all it holds. `target` is None where nobody knows what it should be."""

    collection: str
    target: str | None
    reason: str


Find = Callable[[str], ServerCollection | None]
"""The collection of a name, if there is one."""


def plan(
    server: ChromaServer, default: EmbeddingSpace | None, *, keep: bool = False
) -> Iterator[PlannedMigration | Skipped | Failed]:
    """What a migration would do, in its order; writes nothing.

    `default` is the space of collections that no mark is on; with `keep`, what is merged stays where it is as well.
    Raises `StoreFailed` when the collections cannot be listed.
    """
    collections = in_migration_order(server)
    names = {one.name: one for one in collections}
    for collection in collections:
        found = planned_or_failed(collection, names.get, default)
        if isinstance(found, PlannedMigration):
            _follow(found, names, keep=keep)
        yield found


def in_migration_order(server: ChromaServer) -> list[ServerCollection]:
    """Every collection, by its name, the last one first.

    The new name of one may be the old name of another, which then sorts after it and has to make room first.
    """
    return sorted(server.collections(), key=lambda one: one.name, reverse=True)


def planned_or_failed(
    collection: ServerCollection, find: Find, default: EmbeddingSpace | None
) -> PlannedMigration | Skipped | Failed:
    """`plan_collection`; a collection that cannot be read has failed."""
    try:
        return plan_collection(collection, find, default)
    except StoreFailed as exc:
        return Failed(collection.name, None, str(exc))


def plan_collection(
    collection: ServerCollection, find: Find, default: EmbeddingSpace | None
) -> PlannedMigration | Skipped | Failed:
    """What should become of a collection, where the others are as `find` says. Raises `StoreFailed`."""
    name = collection.name
    try:
        dimension = collection.dimension
    except CollectionMissing:
        return Skipped(name, GONE)
    target_name = target_collection_name(name, dimension) if dimension else None
    if dimension is None or target_name is None:
        return Skipped(name, EMPTY if dimension is None else SUFFIXED)
    if len(target_name) > _LONGEST_NAME:
        return Failed(name, target_name, f"Chroma takes no name of more than {_LONGEST_NAME} characters")
    target = find(target_name)
    if target is None:
        return PlannedMigration(name, target_name, MigrationAction.RENAME, collection.count())
    if target.id == collection.id:
        return skipped_as_renamed(name, target_name)
    if against := merge_obstacle(collection, target, default):
        return Failed(name, target_name, against)
    return PlannedMigration(name, target_name, MigrationAction.MERGE, collection.count())


def skipped_as_renamed(name: str, target_name: str) -> Skipped:
    """Somebody else was faster."""
    return Skipped(name, f"another migration has renamed it to {target_name}")


def merge_obstacle(old: ServerCollection, target: ServerCollection, default: EmbeddingSpace | None) -> str | None:
    """Why the records of `old` must not get into `target`; None where they may. Raises `StoreFailed`."""
    dimension = old.dimension or 0
    if target.dimension not in {None, dimension}:
        return f"{target.name} holds vectors of {target.dimension} dimensions, not {dimension}"
    ours = space_of(old.metadata, dimension, default)
    theirs = space_of(target.metadata, dimension, default)
    if ours == theirs or target.dimension is None:
        return None
    unknown = "one that nobody recorded"
    holds = f"{target.name} holds vectors of the space {theirs or unknown}, not {ours or unknown}"
    return f"{holds}: vectors of two spaces never mix"


def _follow(step: PlannedMigration, names: dict[str, ServerCollection], *, keep: bool) -> None:
    """Makes `names` what it is after the step."""
    if step.how is MigrationAction.RENAME:
        names[step.target] = names.pop(step.collection)
    elif not keep:
        names.pop(step.collection)
