"""Random worlds: fleets of models, requests, and providers that answer, fail, hang and bill as they like."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from sekha_llm_bridge import errors
from sekha_llm_bridge.config.models import CircuitBreakerConfig, ModelConfig, ProviderConfig, Task
from sekha_llm_bridge.conversation import CacheLifetime, CacheMarks, ChatAnswer
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import AttemptLog, Deadline, ExecutionResult, Executor
from sekha_llm_bridge.execution.deadline import MARGIN_S
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.pricing.price import Price, Rates, Tier
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breakers, Cooldowns, UnsupportedFeatures
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.routing import Candidate, Catalog, ModelRef, RoutePlan, RouteRequest, RoutingContext, plan
from sekha_llm_bridge.routing.cost_quotes import uses_hour_cache
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, make_settings, provider
from tests.fakes.virtual_time import run
from tests.unit.execution.stage import Calls


def _pricing(price: tuple[float, float]) -> dict[str, float]:
    return {"input_usd_per_mtok": price[0], "output_usd_per_mtok": price[1]}


known = st.tuples(st.integers(0, 60), st.integers(0, 90)).map(lambda pair: (pair[0] / 10, pair[1] / 10))
prices = st.one_of(known, known, known, st.none())
cache_prices = st.fixed_dictionaries(
    {},
    optional={
        "cached_input_usd_per_mtok": st.integers(0, 10).map(lambda tenths: tenths / 10),
        "cache_write_usd_per_mtok": st.integers(0, 90).map(lambda tenths: tenths / 10),
        "hour_cache_write_usd_per_mtok": st.integers(0, 150).map(lambda tenths: tenths / 10),
    },
)
models = st.builds(
    lambda name, price, cache, window, most, sees, tools, task: chat_model(
        f"m{name}",
        price=None,
        **({} if price is None else {"pricing": {**_pricing(price), **cache}}),
        context_window=window,
        max_output_tokens=most,
        supports_vision=sees,
        supports_function_calling=tools,
        task=task,
    ),
    st.integers(0, 5),
    prices,
    cache_prices,
    st.sampled_from([64, 8192, 128_000, 128_000, 1_000_000]),
    st.none() | st.integers(1, 5000),
    st.booleans(),
    st.sampled_from([None, True, False]),
    st.sampled_from(["chat_small", "chat_large", "chat_smart"]),
)
kinds = st.sampled_from(["openai", "openai", "gemini", "ollama", "anthropic"])
fleets = st.lists(
    st.tuples(kinds, st.integers(1, 3), st.integers(1, 60), st.lists(models, min_size=1, max_size=4)),
    min_size=1,
    max_size=5,
).map(
    lambda rows: [
        provider(
            f"p{i}", *ms, provider_type=kind, priority=rank, timeout_secs=wait, base_url="http://h/v1", api_key="k"
        )
        for i, (kind, rank, wait, ms) in enumerate(rows)
    ]
)
prompts = st.builds(
    lambda estimate, more, images, lifetime, marked: TokenCount(
        estimate=estimate,
        bound=estimate + more,
        minimum=estimate // 2,
        images=images,
        cache_marks=CacheMarks(lifetime),
        marked=min(marked, estimate) if lifetime else 0,
    ),
    st.integers(0, 3000),
    st.integers(0, 9000),
    st.integers(0, 2),
    st.sampled_from([CacheLifetime.NONE, CacheLifetime.MINUTES, *[CacheLifetime.HOUR] * 2]),
    st.integers(0, 3000),
)
limits_usd = st.one_of(
    st.none(),
    st.integers(0, 300_000).map(lambda micros: Decimal(micros) / 1_000_000),
    st.sampled_from([Decimal("0.02"), Decimal("0.1"), Decimal(1)]),
)
seldom = st.sampled_from([False] * 5 + [True])
M0, M1 = ModelRef("m0"), ModelRef("m1")
route_requests = st.builds(
    RouteRequest,
    task=st.sampled_from([None] * 4 + [Task.CHAT_SMALL, Task.CHAT_SMART]),
    prompt=prompts,
    output_tokens=st.none() | st.integers(1, 5000),
    n_choices=st.integers(1, 3),
    named=st.sampled_from([()] * 6 + [(M0,), (M1,), (M1, M0), (ModelRef("m0", "p1"), M1)]),
    is_pinned=st.booleans(),
    preferred=st.sampled_from([(), (M0,), (M1,), (ModelRef("ghost"),)]),
    needs_vision=seldom,
    needs_tools=seldom,
    max_cost_usd=limits_usd,
)


@dataclass(frozen=True, slots=True)
class Happening:
    """What one call comes to: after `delay_s` it answers or fails as `kind` says.

    Whatever it says, it bills: these shares, in thousandths, of what was allowed. What it does not read from its cache,
    it writes there, `hour_share` of it for an hour where the request asks for that.
    """

    delay_s: float
    kind: str
    prompt_share: int
    output_share: int
    cached_share: int
    hour_share: int = 0


HARMLESS = {
    "server": lambda usage: errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x"),
    "limited": lambda usage: errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x", retry_after_s=5),
    "key": lambda usage: errors.ProviderError(errors.FailureKind.CREDENTIALS_REJECTED, "x"),
    "quota": lambda usage: errors.ProviderError(errors.FailureKind.QUOTA_EXHAUSTED, "x"),
    "missing": lambda usage: errors.ProviderError(errors.FailureKind.MODEL_MISSING, "x"),
    "refused": lambda usage: errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"),
    "fault": lambda usage: errors.ProviderError(errors.FailureKind.REQUEST_REJECTED, "x"),
    "content": lambda usage: errors.ProviderError(errors.FailureKind.CONTENT_REFUSED, "x"),
    "context": lambda usage: errors.ProviderError(errors.FailureKind.CONTEXT_LENGTH_EXCEEDED, "x"),
}
BILLED: dict[str, Callable[[Usage], Exception]] = {
    "unusable": lambda usage: errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x", usage=usage),
    "error within": lambda usage: errors.ProviderError(errors.FailureKind.SERVER_ERROR, "x", usage=usage),
    "context late": lambda usage: errors.ProviderError(errors.FailureKind.CONTEXT_LENGTH_EXCEEDED, "x", usage=usage),
    "unusable, uncounted": lambda usage: errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x"),
    "lost": lambda usage: errors.ProviderError(errors.FailureKind.CONNECTION_LOST, "x"),
    "gateway timeout": lambda usage: errors.ProviderError(errors.FailureKind.TIMEOUT, "x"),
    "bug": lambda usage: RuntimeError("x"),
}
happenings = st.builds(
    Happening,
    st.sampled_from([0.0, 0.001, 0.4, 3.0, 29.0, 1e6]),
    st.sampled_from(["ok", "ok, uncounted", *HARMLESS, *BILLED, *BILLED]),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1000),
)


@dataclass
class World:
    """One request among those providers. `billed_usd` is what they really charge, whether they say so or not."""

    fleet: list[dict[str, Any]]
    request: RouteRequest
    limit_usd: Decimal | None
    script: list[Happening]
    remaining_s: float
    clock: FakeClock = field(default_factory=FakeClock)
    billed_usd: Decimal = Decimal(0)
    called: list[tuple[str, str]] = field(default_factory=list)
    prices: PriceBook = field(default_factory=PriceBook)

    def __post_init__(self) -> None:
        self.settings = make_settings(*self.fleet)
        self._turns = defaultdict[tuple[str, str], int](int)

    def plan(self) -> RoutePlan:
        return plan(self.request, Catalog.of(self.settings, self.prices), RoutingContext(max_cost_usd=self.limit_usd))

    def run_plan(self) -> ExecutionResult[ChatAnswer] | BridgeError:
        directory = ProviderDirectory(
            self.settings.providers, JsonHttp(self.clock), self.clock, lambda name: directory_config(self, name)
        )
        executor = Executor(
            directory, self.clock, cooldowns=Cooldowns(self.clock), unsupported=UnsupportedFeatures(self.clock)
        )
        ids = [config.id for config in self.settings.providers]
        breakers = Breakers(MemoryProviderStore(), ids, CircuitBreakerConfig(), self.clock)
        deadline = Deadline.after(self.remaining_s + MARGIN_S, self.clock)
        session = run(breakers.session(), self.clock)
        self.log = AttemptLog(self.clock)
        running = executor.run(self.plan(), Calls(self._call), deadline, session, InboundRequest(self.log))
        return run(_told(running), self.clock)

    async def _call(self, _provider: Provider, candidate: Candidate, _timeout_s: float) -> ChatAnswer:
        key = candidate.entry.key
        self.called.append(key)
        happening = self.script[(candidate.entry.position + self._turns[key]) % len(self.script)]
        self._turns[key] += 1
        usage = self._usage(candidate, happening)
        if happening.kind not in HARMLESS:  # from the first moment on: it may be cut off while it works
            self._bill(candidate, usage)
        await asyncio.sleep(happening.delay_s)
        if (failure := (HARMLESS | BILLED).get(happening.kind)) is not None:
            raise failure(usage)
        return ChatAnswer("id", 0, (), usage if happening.kind == "ok" else None)

    def _usage(self, candidate: Candidate, happening: Happening) -> Usage:
        """Returns at most the tokens that the provider can have read, or was asked to write."""
        request, entry = self.request, candidate.entry
        asked = request.output_tokens if candidate.output_cap is None else candidate.output_cap
        most = min(asked if asked is not None else entry.window, entry.max_output)
        prompt = (
            (request.prompt.bound + request.prompt.images * entry.max_image_tokens) * happening.prompt_share // 1000
        )
        output = most * request.n_choices * happening.output_share // 1000
        cached = prompt * happening.cached_share // 1000
        written = prompt - cached
        for_an_hour = written * happening.hour_share // 1000 if uses_hour_cache(entry, request) else 0
        return Usage(prompt, output, cached, cache_write_tokens=written, hour_cache_write_tokens=for_an_hour)

    def _bill(self, candidate: Candidate, usage: Usage) -> None:
        if candidate.entry.price is not None:
            self.billed_usd += candidate.entry.price.cost_usd(usage)


def directory_config(world: World, name: str) -> Any:
    """The same configuration again: the secrets have not changed."""
    return next(config for config in world.settings.providers if config.id == name)


async def _told(work: Coroutine[Any, Any, ExecutionResult[ChatAnswer]]) -> ExecutionResult[ChatAnswer] | BridgeError:
    try:
        return await work
    except BridgeError as exc:
        return exc


worlds = st.builds(
    World,
    fleets,
    route_requests,
    limits_usd,
    st.lists(happenings, min_size=1, max_size=8),
    st.sampled_from([100.0, 20.0, 2.0]) | st.floats(0, 60),
)


@dataclass(frozen=True, slots=True)
class _Listed(PriceBook):
    """A price for each provider, of kinds that the configuration cannot say."""

    prices: dict[str, Price]

    def price(self, provider: ProviderConfig, model: ModelConfig) -> Price | None:
        return self.prices[provider.id]


def _price(tenths: tuple[int, int, int, int], tier: tuple[int, int] | None, fee_micros: int) -> Price:
    """USD per million tokens in tenths: input, output, and what writing to the cache costs more, for five minutes and
    for an hour; a tier above some tokens costs that many times as much.
    """
    base = _rates(*tenths)
    tiers = () if tier is None else (Tier(tier[0], _rates(*(tier[1] * tenth for tenth in tenths))),)
    return Price(base, "listed", tiers, Decimal(fee_micros) / 1_000_000)


def _rates(given: int, taken: int, more: int, hour_more: int) -> Rates:
    written, for_an_hour = Decimal(given + more) / 10, Decimal(given + hour_more) / 10
    return Rates(Decimal(given) / 10, Decimal(taken) / 10, Decimal(given) / 100, written, for_an_hour)


def _tight(
    prices: list[Price],
    prompt: int,
    chars_per_token: int,
    output: int,
    answers: int,
    tenths: int,
    lifetime: CacheLifetime,
    script: list[Happening],
) -> World:
    """A limit that is some tenths of what the first model costs at most."""
    fleet = [
        provider(f"p{i}", chat_model("m", context_window=10**6), priority=i + 1, base_url="http://h/v1")
        for i in range(len(prices))
    ]
    estimate, is_hour_cache = prompt // chars_per_token, lifetime is CacheLifetime.HOUR
    marked = estimate if lifetime else 0
    count = TokenCount(estimate, prompt, 0, cache_marks=CacheMarks(lifetime), marked=marked)
    request = RouteRequest(None, count, output_tokens=output, n_choices=answers)
    first_usd = prices[0].bound_usd(
        prompt_tokens=prompt, completion_tokens=output * answers, is_hour_cache=is_hour_cache
    )
    listed = _Listed({f"p{i}": price for i, price in enumerate(prices)})
    return World(fleet, request, first_usd * tenths / 10, script, 100.0, prices=listed)


billed_happenings = st.builds(
    Happening,
    st.sampled_from([0.0, 0.0, 0.2]),
    st.sampled_from([*BILLED, *BILLED, "server", "refused", "limited", "ok"]),
    st.integers(900, 1000),
    st.integers(900, 1000),
    st.integers(0, 1000),
    st.sampled_from([0, 500, 1000]),
)
listed_prices = st.builds(
    _price,
    st.tuples(st.integers(1, 40), st.integers(1, 90), st.integers(0, 20), st.integers(0, 80)),
    st.none() | st.tuples(st.integers(1, 20_000), st.integers(2, 4)),
    st.sampled_from([0, 0, 10, 5000]),
)
tight_worlds = st.builds(
    _tight,
    st.lists(listed_prices, min_size=2, max_size=4),
    st.integers(1, 20_000),
    st.integers(1, 4),
    st.integers(65, 4000),
    st.integers(1, 3),
    st.integers(5, 30),
    st.sampled_from([CacheLifetime.NONE, CacheLifetime.MINUTES, CacheLifetime.HOUR]),
    st.lists(billed_happenings, min_size=1, max_size=6),
)
"""Failures that are billed, under a limit that one attempt nearly uses up."""
