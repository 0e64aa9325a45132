"""Composes the services that store vectors. Only functions that store, search or count vectors import it."""

from dataclasses import dataclass

from sekha_llm_bridge.bootstrap import AwsResources
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config import Settings, Task
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings import EmbeddingStorage
from sekha_llm_bridge.embeddings.chroma_token import ChromaToken
from sekha_llm_bridge.embeddings.deferred_writes.outbox import Outbox
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import DynamoPendingWrites, PendingWrites
from sekha_llm_bridge.embeddings.deferred_writes.sqs import SqsQueue
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.embeddings.store import VectorStore
from sekha_llm_bridge.routing import Catalog


@dataclass(frozen=True, slots=True)
class Vectors:
    """The services that store vectors. `pending_writes` is None without a table."""

    storage: EmbeddingStorage
    pending_writes: PendingWrites | None
    default_space: EmbeddingSpace | None


def make_vectors(
    settings: Settings,
    catalog: Catalog,
    connections: Connections,
    clock: Clock,
    resources: AwsResources,
    token: ChromaToken,
) -> Vectors:
    """Returns the services for the Chroma server of the settings.

    With a queue and a table, vectors that Chroma does not take are queued.
    """
    default = default_space_of(catalog)
    store = _chroma_store(settings.chroma, token, clock, default) if settings.chroma.url else None
    pending_writes = DynamoPendingWrites(resources.table, connections, clock) if resources.table else None
    outbox = None
    if resources.queue_url and pending_writes:
        queue = SqsQueue(resources.queue_url, connections, clock, dead_letters_url=resources.dead_letters_url)
        outbox = Outbox(queue, pending_writes, clock)
    storage = EmbeddingStorage(store, outbox)
    return Vectors(storage, pending_writes, default)


def _chroma_store(
    config: ChromaConfig, token: ChromaToken, clock: Clock, default: EmbeddingSpace | None
) -> VectorStore:
    # They import httpx: a twentieth of a function's start, and of no use without a Chroma server.
    from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
    from sekha_llm_bridge.embeddings.chroma_store import ChromaStore

    return ChromaStore(ChromaServer(config, token=token, clock=clock), clock, default=default)


def default_space_of(catalog: Catalog) -> EmbeddingSpace | None:
    """Returns the space of the default embedding model."""
    named = catalog.entries(catalog.default_for(Task.EMBEDDING) or "")
    default = next((entry.model for entry in named if entry.model.serves(Task.EMBEDDING)), None)
    return EmbeddingSpace(default.space, default.dimension) if default and default.dimension else None
