"""The composition root: the only place that names concrete classes. One bridge per execution environment."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config import Settings, load_settings, refresh_provider
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.execution import Executor
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breakers, BreakerSession, Cooldowns, ProviderStore
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.routing import Catalog, RoutingContext

if TYPE_CHECKING:
    from sekha_llm_bridge.bootstrap.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are in AWS; an empty text: nowhere."""

    table: str = ""
    queue_url: str = ""
    dead_letters_url: str = ""


@dataclass(frozen=True, slots=True)
class Bridge:
    """Everything a handler needs, handed in. `vectors` makes what keeps vectors when it is first called."""

    settings: Settings
    catalog: Catalog
    providers: ProviderDirectory
    breakers: Breakers
    cooldowns: Cooldowns
    executor: Executor
    vectors: Callable[[], "Vectors"]
    connections: Connections
    clock: Clock

    def limits(self, watch: BreakerSession) -> RoutingContext:
        """What holds for every request, and what is known of the providers now."""
        routing = self.settings.routing
        return RoutingContext(
            cost_aware=routing.cost_aware,
            max_cost_usd=routing.max_cost_per_request,
            min_output_tokens=routing.min_output_tokens,
            breakers=watch.views(),
            cooling_s=self.cooldowns.remaining_s(),
        )


@cache
def bridge() -> Bridge:
    """The bridge of this execution environment, from the configured file. Raises `ConfigError`."""
    settings = load_settings()
    for warning in settings.warnings:
        logger().warning(warning)
    return make_bridge(
        settings,
        table=os.environ.get("STATE_TABLE", ""),
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

    @cache
    def vectors() -> "Vectors":
        from sekha_llm_bridge.bootstrap.vectors import make_vectors  # most functions start faster without

        return make_vectors(settings, catalog, connections, clock, Places(table, queue_url, dead_letters_url))

    kept = _on_table(table, connections, clock) if table else store or MemoryProviderStore()
    return Bridge(
        settings=settings,
        catalog=catalog,
        providers=providers,
        breakers=Breakers(kept, [config.id for config in settings.providers], routing.circuit_breaker, clock),
        cooldowns=cooldowns,
        executor=Executor(providers, clock, cooldowns=cooldowns, auto_fallback=routing.auto_fallback),
        vectors=vectors,
        connections=connections,
        clock=clock,
    )


def _on_table(table: str, connections: Connections, clock: Clock) -> ProviderStore:
    from sekha_llm_bridge.resilience.dynamodb import DynamoProviderStore  # a function without a table starts faster

    return DynamoProviderStore(table, connections, clock)
