"""The composition root: the only place that names concrete classes. One bridge per execution environment."""

import os
from dataclasses import dataclass
from functools import cache

from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config import Settings, Task, load_settings, refresh_provider
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings import Archive
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.spaces import KnownSpace
from sekha_llm_bridge.embeddings.waiting.drain import Drain
from sekha_llm_bridge.embeddings.waiting.ledger import DynamoLedger, Ledger
from sekha_llm_bridge.embeddings.waiting.outbox import Outbox
from sekha_llm_bridge.embeddings.waiting.queue import MessageQueue
from sekha_llm_bridge.execution import Executor
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breakers, Cooldowns, ProviderStore, Watch
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.routing import Catalog, Limits

_PATIENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Bridge:
    """Everything a handler needs, handed in."""

    settings: Settings
    catalog: Catalog
    providers: ProviderDirectory
    breakers: Breakers
    cooldowns: Cooldowns
    executor: Executor
    archive: Archive
    ledger: Ledger | None
    drain: Drain | None
    chroma: ChromaServer | None
    default_space: KnownSpace | None
    connections: Connections
    clock: Clock

    def limits(self, watch: Watch) -> Limits:
        """What holds for every request, and what is known of the providers now."""
        routing = self.settings.routing
        return Limits(
            cost_aware=routing.cost_aware,
            max_cost_usd=routing.max_cost_per_request,
            min_output_tokens=routing.min_output_tokens,
            breakers=watch.views(),
            cooling_s=self.cooldowns.left_s(),
        )


@cache
def bridge() -> Bridge:
    """The bridge of this execution environment, from the configured file. Raises `ConfigError`."""
    settings = load_settings()
    for warning in settings.warnings:
        logger().warning(warning)
    return make_bridge(
        settings,
        table=os.environ.get("BREAKER_TABLE", ""),
        queue_url=os.environ.get("VECTOR_QUEUE_URL", ""),
        dead_letters_url=os.environ.get("VECTOR_DEAD_LETTERS_URL", ""),
    )


def make_bridge(
    settings: Settings,
    *,
    table: str = "",
    queue_url: str = "",
    dead_letters_url: str = "",
    store: ProviderStore | None = None,
    clock: Clock | None = None,
) -> Bridge:
    """A bridge of given settings. Its breakers are kept in the DynamoDB table of that name, without one in `store`,
    else in memory. Vectors that Chroma does not take wait in the queue, where there are a queue and a table.
    """
    clock = clock or SystemClock()
    connections = Connections(clock)
    catalog = Catalog.of(settings, PriceBook())
    providers = ProviderDirectory(
        settings.providers,
        JsonHttp(clock, connections),
        clock,
        lambda provider_id: refresh_provider(settings, provider_id),
    )
    routing, cooldowns = settings.routing, Cooldowns(clock)
    chroma = ChromaServer(settings.chroma, clock=clock) if settings.chroma.url else None
    default_space = _default_space(catalog)
    queue = _queue(queue_url, dead_letters_url, connections, clock) if queue_url and table else None
    ledger = DynamoLedger(table, connections, clock) if table else None
    outbox = Outbox(queue, ledger, clock) if queue and ledger else None
    kept = _on_table(table, connections, clock) if table else store or MemoryProviderStore()
    return Bridge(
        settings=settings,
        catalog=catalog,
        providers=providers,
        breakers=Breakers(kept, [config.id for config in settings.providers], routing.circuit_breaker, clock),
        cooldowns=cooldowns,
        executor=Executor(providers, clock, cooldowns=cooldowns, auto_fallback=routing.auto_fallback),
        archive=Archive(ChromaStore(chroma, clock, default=default_space) if chroma else None, outbox),
        ledger=ledger,
        drain=_drain(settings, default_space, queue, ledger, clock)
        if queue and dead_letters_url and ledger and chroma
        else None,
        chroma=chroma,
        default_space=default_space,
        connections=connections,
        clock=clock,
    )


def _default_space(catalog: Catalog) -> KnownSpace | None:
    """That of the default embedding model."""
    named = catalog.named(catalog.default_for(Task.EMBEDDING) or "")
    default = next((entry.model for entry in named if entry.model.serves(Task.EMBEDDING)), None)
    return KnownSpace(default.space, default.dimension) if default and default.dimension else None


def _queue(url: str, dead_letters_url: str, connections: Connections, clock: Clock) -> MessageQueue:
    from sekha_llm_bridge.embeddings.waiting.sqs import SqsQueue  # most functions have no queue

    return SqsQueue(url, connections, clock, dead_letters_url=dead_letters_url)


def _drain(settings: Settings, default: KnownSpace | None, queue: MessageQueue, ledger: Ledger, clock: Clock) -> Drain:
    """With a store of its own: nobody waits for it, so it may be patient with Chroma."""
    server = ChromaServer(settings.chroma, timeout_s=_PATIENT_S, clock=clock)
    return Drain(queue, ledger, ChromaStore(server, clock, default=default), server, clock)


def _on_table(table: str, connections: Connections, clock: Clock) -> ProviderStore:
    from sekha_llm_bridge.resilience.dynamodb import DynamoProviderStore  # a function without a table starts faster

    return DynamoProviderStore(table, connections, clock)
