"""Composes the services that store vectors. Only functions that store, search, count or migrate vectors import it."""

from dataclasses import dataclass

from sekha_llm_bridge.bootstrap import AwsResources, Bridge
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config import Settings, Task
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings import EmbeddingStorage
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.deferred_writes.drain import Drain
from sekha_llm_bridge.embeddings.deferred_writes.outbox import Outbox
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import DynamoPendingWrites, PendingWrites
from sekha_llm_bridge.embeddings.deferred_writes.sqs import SqsQueue
from sekha_llm_bridge.embeddings.migration.lease import DynamoLease, Lease, NoLease
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.routing import Catalog

# Timeouts and attempts of requests to Chroma that no client waits for.
_BACKGROUND_TIMEOUT_S = 30.0
_MIGRATION_MAX_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Vectors:
    """The services that store vectors. `drain` is None without a queue, `pending_writes` is None without a table."""

    storage: EmbeddingStorage
    pending_writes: PendingWrites | None
    drain: Drain | None
    default_space: EmbeddingSpace | None


def make_vectors(
    settings: Settings, catalog: Catalog, connections: Connections, clock: Clock, resources: AwsResources
) -> Vectors:
    """Returns the services for the Chroma server of the settings.

    With a queue and a table, vectors that Chroma does not take are queued.
    """
    default = _default_space(catalog)
    store = ChromaStore(ChromaServer(settings.chroma, clock=clock), clock, default=default)
    pending_writes = DynamoPendingWrites(resources.table, connections, clock) if resources.table else None
    outbox = drain = None
    if resources.queue_url and pending_writes:
        queue = SqsQueue(resources.queue_url, connections, clock, dead_letters_url=resources.dead_letters_url)
        outbox = Outbox(queue, pending_writes, clock)
        if settings.chroma.url and resources.dead_letters_url:
            server = ChromaServer(settings.chroma, timeout_s=_BACKGROUND_TIMEOUT_S, clock=clock)
            drain = Drain(queue, pending_writes, ChromaStore(server, clock, default=default), server, clock)
    storage = EmbeddingStorage(store if settings.chroma.url else None, outbox)
    return Vectors(storage, pending_writes, drain, default)


@dataclass(frozen=True, slots=True)
class MigrationParts:
    """The collaborators of a migration. `default_space` is the space of collections that do not record one."""

    server: ChromaServer
    lease: Lease
    default_space: EmbeddingSpace | None


def make_migration(bridge: Bridge) -> MigrationParts:
    """Returns the collaborators of a migration on the bridge's Chroma server, with a lease in its table.

    Without a table no lease is needed, because no other process migrates.
    """
    server = ChromaServer(
        bridge.settings.chroma,
        timeout_s=_BACKGROUND_TIMEOUT_S,
        max_attempts=_MIGRATION_MAX_ATTEMPTS,
        clock=bridge.clock,
    )
    table = bridge.resources.table
    lease: Lease = DynamoLease(table, bridge.connections, bridge.clock) if table else NoLease()
    return MigrationParts(server, lease, _default_space(bridge.catalog))


def _default_space(catalog: Catalog) -> EmbeddingSpace | None:
    """Returns the space of the default embedding model."""
    named = catalog.named(catalog.default_for(Task.EMBEDDING) or "")
    default = next((entry.model for entry in named if entry.model.serves(Task.EMBEDDING)), None)
    return EmbeddingSpace(default.space, default.dimension) if default and default.dimension else None
