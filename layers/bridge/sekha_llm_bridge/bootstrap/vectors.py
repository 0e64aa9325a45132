"""What keeps vectors, composed: only the functions that store, search or count them need it."""

from dataclasses import dataclass

from sekha_llm_bridge.bootstrap import Places
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config import Settings, Task
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings import Archive
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.deferred_writes.drain import Drain
from sekha_llm_bridge.embeddings.deferred_writes.outbox import Outbox
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import DynamoLedger, Ledger
from sekha_llm_bridge.embeddings.deferred_writes.queue import MessageQueue
from sekha_llm_bridge.embeddings.deferred_writes.sqs import SqsQueue
from sekha_llm_bridge.embeddings.spaces import KnownSpace
from sekha_llm_bridge.routing import Catalog

_PATIENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Vectors:
    """Where vectors are kept. `drain` is None where nothing can wait, `ledger` where nobody counts what does."""

    archive: Archive
    ledger: Ledger | None
    drain: Drain | None
    default_space: KnownSpace | None


def make_vectors(
    settings: Settings, catalog: Catalog, connections: Connections, clock: Clock, places: Places
) -> Vectors:
    """On the Chroma server of the settings. What that does not take waits, where there are a queue and a table."""
    default = _default_space(catalog)
    ledger = DynamoLedger(places.table, connections, clock) if places.table else None
    queue = _queue(places, connections, clock) if places.queue_url and ledger else None
    outbox = Outbox(queue, ledger, clock) if queue and ledger else None
    store = ChromaStore(ChromaServer(settings.chroma, clock=clock), clock, default=default)
    is_drained = bool(settings.chroma.url and places.dead_letters_url)
    return Vectors(
        archive=Archive(store if settings.chroma.url else None, outbox),
        ledger=ledger,
        drain=_drain(settings, default, queue, ledger, clock) if queue and ledger and is_drained else None,
        default_space=default,
    )


def _default_space(catalog: Catalog) -> KnownSpace | None:
    """That of the default embedding model."""
    named = catalog.named(catalog.default_for(Task.EMBEDDING) or "")
    default = next((entry.model for entry in named if entry.model.serves(Task.EMBEDDING)), None)
    return KnownSpace(default.space, default.dimension) if default and default.dimension else None


def _queue(places: Places, connections: Connections, clock: Clock) -> MessageQueue:
    return SqsQueue(places.queue_url, connections, clock, dead_letters_url=places.dead_letters_url)


def _drain(settings: Settings, default: KnownSpace | None, queue: MessageQueue, ledger: Ledger, clock: Clock) -> Drain:
    """With a store of its own: nobody waits for it, so it may be patient with Chroma."""
    server = ChromaServer(settings.chroma, timeout_s=_PATIENT_S, clock=clock)
    return Drain(queue, ledger, ChromaStore(server, clock, default=default), server, clock)
