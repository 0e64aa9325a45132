"""Providers that do as they are told, on a clock that moves only when they take their time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sekha_llm_bridge import errors
from sekha_llm_bridge.config.models import CircuitBreakerConfig, ProviderConfig
from sekha_llm_bridge.execution import Deadline, Executor, Outcome
from sekha_llm_bridge.execution.deadline import MARGIN_S
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.providers import ChatAnswer, ProviderDirectory
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breakers, Cooldowns, ProviderStore
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.routing import Candidate, Catalog, Limits, RoutePlan, RouteRequest, plan
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, make_settings, provider
from tests.fakes.virtual_time import run

SMALL = RouteRequest(None, TokenCount(10, 10, 10))
OK = ChatAnswer({}, Usage(1000, 500, cached_tokens=0))
Happening = Exception | ChatAnswer | Callable[[Candidate], Any]
"""What one call does: raises, answers, or whatever the function does; one that is awaitable takes its time."""


class _Directory(ProviderDirectory):
    """Its secrets take their time."""

    takes_s = 0.0

    async def refresh(self, provider_id: str, *, timeout_s: float) -> bool:
        await asyncio.sleep(min(self.takes_s, timeout_s))
        return self.takes_s <= timeout_s and await super().refresh(provider_id, timeout_s=timeout_s)


@dataclass
class Stage:
    """Providers p0, p1, … of falling priority, each with a list of what its calls do in turn.

    `fleet` replaces the usual one model for each, m0, m1, …
    """

    clock: FakeClock
    outcomes: list[list[Any]]
    windows: list[int] = field(default_factory=list)
    fleet: list[dict[str, Any]] = field(default_factory=list)
    request: RouteRequest = SMALL
    limit_usd: Decimal | None = None
    called: list[str] = field(default_factory=list)
    offers: list[Candidate] = field(default_factory=list)
    allowed_s: list[float] = field(default_factory=list)
    reloaded_key: str = "old"
    reload_fails: bool = False
    reload_s: float = 0.0
    store: ProviderStore = field(default_factory=MemoryProviderStore)
    rules: CircuitBreakerConfig = field(default_factory=CircuitBreakerConfig)

    def __post_init__(self) -> None:
        self.cooldowns = Cooldowns(self.clock)
        windows = self.windows or [8192] * len(self.outcomes)
        self.configs = self.fleet or [
            provider(
                f"p{i}",
                chat_model(f"m{i}", context_window=window),
                priority=i + 1,
                timeout_secs=10,
                api_key="old",
                base_url="http://x/v1",
            )
            for i, window in enumerate(windows)
        ]
        self.settings = make_settings(*self.configs)
        self.breakers = self.instance()

    def instance(self) -> Breakers:
        """The breakers as another instance of the fleet has them."""
        return Breakers(self.store, [config.id for config in self.settings.providers], self.rules, self.clock)

    def plan(self) -> RoutePlan:
        limits = Limits(max_cost_usd=self.limit_usd, breakers=self.breakers.views(), cooling_s=self.cooldowns.left_s())
        return plan(self.request, Catalog.of(self.settings, PriceBook()), limits)

    def perform(
        self, *, remaining_s: float = 100, auto_fallback: bool = True, allow_fallback: bool = True
    ) -> Outcome[ChatAnswer]:
        directory = _Directory(self.settings.providers, JsonHttp(self.clock), self.clock, self._reload)
        directory.takes_s = self.reload_s
        executor = Executor(
            directory,
            self.clock,
            cooldowns=self.cooldowns,
            auto_fallback=auto_fallback,
            jitter=lambda: 0.5,
        )
        deadline = Deadline.after(remaining_s + MARGIN_S, self.clock)

        async def perform() -> Outcome[ChatAnswer]:
            watch = await self.breakers.watch()
            return await executor.perform(self.plan(), self._call, deadline, watch, allow_fallback=allow_fallback)

        return run(perform(), self.clock)

    def _reload(self, provider_id: str) -> ProviderConfig:
        if self.reload_fails:
            raise errors.ConfigError(["the secret is gone"])
        fields = next(config for config in self.configs if config["id"] == provider_id)
        return ProviderConfig.model_validate({**fields, "api_key": self.reloaded_key})

    async def _call(self, _provider: Provider, candidate: Candidate, timeout_s: float) -> ChatAnswer:
        provider_id = candidate.entry.provider.id
        self.called.append(provider_id)
        self.offers.append(candidate)
        self.allowed_s.append(timeout_s)
        outcome = self.outcomes[int(provider_id[1:])].pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, ChatAnswer):
            return outcome
        answer = outcome(candidate)
        answer = await answer if isinstance(answer, Awaitable) else answer
        assert isinstance(answer, ChatAnswer)
        return answer
