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
from sekha_llm_bridge.execution import Executor
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breakers, Cooldowns, ProviderStore, Watch
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.routing import Catalog, Limits


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
    return make_bridge(settings, table=os.environ.get("BREAKER_TABLE", ""))


def make_bridge(
    settings: Settings, *, table: str = "", store: ProviderStore | None = None, clock: Clock | None = None
) -> Bridge:
    """A bridge of given settings. Its breakers are kept in the DynamoDB table of that name, without one in `store`,
    else in memory.
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
    kept = _on_table(table, connections, clock) if table else store or MemoryProviderStore()
    return Bridge(
        settings=settings,
        catalog=catalog,
        providers=providers,
        breakers=Breakers(kept, [config.id for config in settings.providers], routing.circuit_breaker, clock),
        cooldowns=cooldowns,
        executor=Executor(providers, clock, cooldowns=cooldowns, auto_fallback=routing.auto_fallback),
        archive=_archive(settings, catalog),
        clock=clock,
    )


def _archive(settings: Settings, catalog: Catalog) -> Archive:
    if not settings.chroma.url:
        return Archive(None)
    named = catalog.named(catalog.default_for(Task.EMBEDDING) or "")
    default = next((entry for entry in named if entry.model.serves(Task.EMBEDDING)), None)
    known = KnownSpace(default.model.space, default.model.dimension) if default and default.model.dimension else None
    return Archive(ChromaStore(ChromaServer(settings.chroma), default=known))


def _on_table(table: str, connections: Connections, clock: Clock) -> ProviderStore:
    from sekha_llm_bridge.resilience.dynamodb import DynamoProviderStore  # a function without a table starts faster

    return DynamoProviderStore(table, connections, clock)
