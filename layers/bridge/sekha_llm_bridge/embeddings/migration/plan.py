"""Decides what the migration does with each collection: rename it, merge it, skip it, or report why it cannot."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from sekha_llm_bridge.embeddings.chroma_collection import ServerCollection
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.records import target_collection_name
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace, space_of
from sekha_llm_bridge.embeddings.store import CollectionMissing, StoreFailed

EMPTY = "it is empty"
SUFFIXED = "its name ends with its dimension already"
GONE = "it no longer exists: another migration has moved it, or it was deleted"
_MAX_NAME_LENGTH = 512  # Chroma's limit


class MigrationAction(StrEnum):
    """What is done with a collection: it is renamed if its new name is free, else merged into the one of that name."""

    RENAME = "rename"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class PlannedMigration:
    """The collection `collection` with `records` records should be named `target`."""

    collection: str
    target: str
    how: MigrationAction
    records: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """There was nothing to do with `collection`; `reason` says why."""

    collection: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """`collection` was not migrated, and still has its records. `target` is None if its new name is unknown."""

    collection: str
    target: str | None
    reason: str


Find = Callable[[str], ServerCollection | None]
"""Returns the collection of a name, or None."""


def plan(
    server: ChromaServer, default: EmbeddingSpace | None, *, keep: bool = False
) -> Iterator[PlannedMigration | Skipped | Failed]:
    """Returns what a migration would do, in its order. Writes nothing.

    `default` is the space of collections that do not record one. With `keep`, merged collections are not deleted.
    Raises `StoreFailed` if the collections cannot be listed.
    """
    collections = in_migration_order(server)
    by_name = {one.name: one for one in collections}
    for collection in collections:
        try:
            planned = plan_collection(collection, by_name.get, default)
        except StoreFailed as exc:
            planned = Failed(collection.name, None, str(exc))
        if isinstance(planned, PlannedMigration):
            if planned.how is MigrationAction.RENAME:
                by_name[planned.target] = by_name.pop(planned.collection)
            elif not keep:
                by_name.pop(planned.collection)
        yield planned


def in_migration_order(server: ChromaServer) -> list[ServerCollection]:
    """Returns every collection, sorted by name in descending order.

    The new name of one collection may be the old name of another. That other one is longer, so it sorts after the first
    and is renamed before it.
    """
    return sorted(server.collections(), key=lambda one: one.name, reverse=True)


def plan_collection(
    collection: ServerCollection, find: Find, default: EmbeddingSpace | None
) -> PlannedMigration | Skipped | Failed:
    """Returns what to do with a collection; `find` looks up the others. Raises `StoreFailed`."""
    name = collection.name
    try:
        dimension = collection.dimension
    except CollectionMissing:
        return Skipped(name, GONE)
    target_name = target_collection_name(name, dimension) if dimension else None
    if dimension is None or target_name is None:
        return Skipped(name, EMPTY if dimension is None else SUFFIXED)
    if len(target_name) > _MAX_NAME_LENGTH:
        return Failed(name, target_name, f"Chroma allows names of at most {_MAX_NAME_LENGTH} characters")
    target = find(target_name)
    if target is None:
        return PlannedMigration(name, target_name, MigrationAction.RENAME, collection.count())
    if target.id == collection.id:
        return skipped_as_renamed(name, target_name)
    if obstacle := merge_obstacle(collection, target, default):
        return Failed(name, target_name, obstacle)
    return PlannedMigration(name, target_name, MigrationAction.MERGE, collection.count())


def skipped_as_renamed(name: str, target_name: str) -> Skipped:
    """Returns the outcome for a collection that another migration has renamed."""
    return Skipped(name, f"another migration has renamed it to {target_name}")


def merge_obstacle(old: ServerCollection, target: ServerCollection, default: EmbeddingSpace | None) -> str | None:
    """Returns why `old` must not be merged into `target`; None if it may. Raises `StoreFailed`."""
    dimension = old.dimension or 0
    if target.dimension not in {None, dimension}:
        return f"{target.name} holds vectors of {target.dimension} dimensions, not {dimension}"
    old_space = space_of(old.metadata, dimension, default)
    target_space = space_of(target.metadata, dimension, default)
    if old_space == target_space or target.dimension is None:
        return None
    unknown = "an unknown one"
    holds = f"{target.name} holds vectors of the space {target_space or unknown}, not {old_space or unknown}"
    return f"{holds}: vectors of two spaces are never merged"
