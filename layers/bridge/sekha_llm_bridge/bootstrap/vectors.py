"""What keeps vectors, composed: only the functions that store, search or count them need it."""

from dataclasses import dataclass

from sekha_llm_bridge.bootstrap import Places
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config import Settings, Task
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings import EmbeddingStorage
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.deferred_writes.drain import Drain
from sekha_llm_bridge.embeddings.deferred_writes.outbox import Outbox
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import DynamoPendingWrites, PendingWrites
from sekha_llm_bridge.embeddings.deferred_writes.queue import MessageQueue
from sekha_llm_bridge.embeddings.deferred_writes.sqs import SqsQueue
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.routing import Catalog

_PATIENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Vectors:
    """Where vectors are stored. `drain` is None without a queue; `pending_writes` is None without a table."""

    storage: EmbeddingStorage
    pending_writes: PendingWrites | None
    drain: Drain | None
    default_space: EmbeddingSpace | None


def make_vectors(
    settings: Settings, catalog: Catalog, connections: Connections, clock: Clock, places: Places
) -> Vectors:
    """On the Chroma server of the settings. What that does not take waits, where there are a queue and a table."""
    default = _default_space(catalog)
    pending_writes = DynamoPendingWrites(places.table, connections, clock) if places.table else None
    queue = _queue(places, connections, clock) if places.queue_url and pending_writes else None
    outbox = Outbox(queue, pending_writes, clock) if queue and pending_writes else None
    store = ChromaStore(ChromaServer(settings.chroma, clock=clock), clock, default=default)
    is_drained = bool(settings.chroma.url and places.dead_letters_url)
    return Vectors(
        storage=EmbeddingStorage(store if settings.chroma.url else None, outbox),
        pending_writes=pending_writes,
        drain=_drain(settings, default, queue, pending_writes, clock)
        if queue and pending_writes and is_drained
        else None,
        default_space=default,
    )


def _default_space(catalog: Catalog) -> EmbeddingSpace | None:
    """That of the default embedding model."""
    named = catalog.named(catalog.default_for(Task.EMBEDDING) or "")
    default = next((entry.model for entry in named if entry.model.serves(Task.EMBEDDING)), None)
    return EmbeddingSpace(default.space, default.dimension) if default and default.dimension else None


def _queue(places: Places, connections: Connections, clock: Clock) -> MessageQueue:
    return SqsQueue(places.queue_url, connections, clock, dead_letters_url=places.dead_letters_url)


def _drain(
    settings: Settings, default: EmbeddingSpace | None, queue: MessageQueue, pending_writes: PendingWrites, clock: Clock
) -> Drain:
    """With a store of its own: nobody waits for it, so it may be patient with Chroma."""
    server = ChromaServer(settings.chroma, timeout_s=_PATIENT_S, clock=clock)
    return Drain(queue, pending_writes, ChromaStore(server, clock, default=default), server, clock)
