"""Composes the scheduled work on vectors: the drain and the migration. Only their jobs import it."""

from dataclasses import dataclass
from functools import lru_cache

from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.bootstrap.vectors import default_space_of
from sekha_llm_bridge.embeddings import Database
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.deferred_writes.drain import MAX_EMPTY_RECEIVES, Drain
from sekha_llm_bridge.embeddings.deferred_writes.sqs import SqsQueue
from sekha_llm_bridge.embeddings.migration.lease import DynamoLease, Lease, NoLease
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace

# Timeouts and attempts of requests to Chroma that no client waits for.
_TIMEOUT_S = 30.0
_MIGRATION_MAX_ATTEMPTS = 4


@lru_cache(maxsize=1)  # one bridge per execution environment: its connections to Chroma are kept between runs
def make_drain(bridge: Bridge, *, max_empty_receives: int = MAX_EMPTY_RECEIVES) -> Drain | None:
    """Returns the drain of the bridge's queue; None without a Chroma server, a table, or one of the two queues."""
    resources, clock = bridge.resources, bridge.clock
    vectors = bridge.vectors()
    has_queues = resources.queue_url and resources.dead_letters_url
    if not (has_queues and bridge.settings.chroma.url and vectors.pending_writes):
        return None
    queue = SqsQueue(resources.queue_url, bridge.connections, clock, dead_letters_url=resources.dead_letters_url)
    settings = bridge.settings
    server = ChromaServer(settings.chroma, timeout_s=_TIMEOUT_S, token=bridge.chroma_token(), clock=clock)
    store = ChromaStore(server, clock, default=vectors.default_space)
    return Drain(queue, vectors.pending_writes, store, server, clock, max_empty_receives=max_empty_receives)


@dataclass(frozen=True, slots=True)
class MigrationParts:
    """The collaborators of a migration. `default_space` is the space of collections that do not record one."""

    server: ChromaServer
    lease: Lease
    default_space: EmbeddingSpace | None


def make_migration(bridge: Bridge, database: Database | None = None) -> MigrationParts:
    """Returns the collaborators of a migration on the bridge's Chroma server, with a lease in its table.

    `database`: None is the configured one. Without a table no lease is needed, because no other process migrates.
    """
    server = ChromaServer(
        bridge.settings.chroma,
        timeout_s=_TIMEOUT_S,
        max_attempts=_MIGRATION_MAX_ATTEMPTS,
        token=bridge.chroma_token(),
        clock=bridge.clock,
    )
    table = bridge.resources.table
    lease: Lease = DynamoLease(table, bridge.connections, bridge.clock) if table else NoLease()
    if database is not None:
        server = server.in_database(database)
    return MigrationParts(server, lease, default_space_of(bridge.catalog))
