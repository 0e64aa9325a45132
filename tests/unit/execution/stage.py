"""Fake providers with scripted calls, on a clock that moves only during these calls."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

from sekha_llm_bridge import errors
from sekha_llm_bridge.config.models import CircuitBreakerConfig, ProviderConfig
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState, ChatAnswer, ChoiceDelta
from sekha_llm_bridge.execution import (
    AttemptLog,
    Deadline,
    ExecutionResult,
    Executor,
    Receipt,
    RequestReport,
    StreamedAnswer,
)
from sekha_llm_bridge.execution.deadline import MARGIN_S
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breakers, Cooldowns, ProviderStore, UnsupportedFeatures
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.routing import Candidate, Catalog, RoutePlan, RouteRequest, RoutingContext, plan
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, make_settings, provider
from tests.fakes.virtual_time import run

T = TypeVar("T")
SMALL = RouteRequest(None, TokenCount(10, 10, 10))


def answer(usage: Usage | None) -> ChatAnswer:
    """A complete answer without any content."""
    return ChatAnswer("id", 0, (), usage)


OK = answer(Usage(1000, 500, cached_tokens=0))
Happening = Exception | ChatAnswer | Callable[[Candidate], Any]
"""What one call does: raises, answers, or whatever the function does; one that is awaitable takes its time."""


def token(text: str) -> AnswerChunk:
    """A chunk that brings the answer on."""
    return AnswerChunk("id", 0, (ChoiceDelta(text=text),), is_progress=True)


IDLE = AnswerChunk("id", 0, (), is_progress=False)
END = AnswerChunk("id", 0, (ChoiceDelta(finish_reason="stop"),), is_progress=True, state=AnswerState.FINISHED)
BILL = AnswerChunk("id", 0, (), is_progress=False, state=AnswerState.FINISHED, usage=Usage(1000, 500))


class Script:
    """A provider's stream: chunks, the seconds between them, and what it fails with; it ends where nothing is left.

    Up to the first chunk that brings the answer on, `begin` has it happen.
    """

    def __init__(self, *steps: AnswerChunk | float | Exception) -> None:
        self._steps = list(steps)
        self.usage: Usage | None = None
        self.is_estimated = False
        self.is_closed = False

    async def begin(self) -> "Script":
        try:
            while not (chunk := await self.__anext__()).is_progress:
                pass
        except BaseException:
            self.is_closed = True
            raise
        self._steps.insert(0, chunk)
        return self

    async def __anext__(self) -> AnswerChunk:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, AnswerChunk):
                self.usage = step.usage or self.usage
                return step
            await asyncio.sleep(step)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class Calls(Generic[T]):
    """An operation that a function carries out."""

    make: Callable[[Provider, Candidate, float], Awaitable[T]]

    async def call(self, provider: Provider, candidate: Candidate, *, timeout_s: float) -> T:
        return await self.make(provider, candidate, timeout_s)


@dataclass
class Story:
    """What a caller saw of a streamed answer, and what is known of it in the end."""

    texts: list[str] = field(default_factory=list)
    error: errors.BridgeError | None = None
    gone: errors.BridgeError | None = None
    receipt: Receipt | None = None
    took_s: float = 0.0
    report: RequestReport = field(default_factory=lambda: RequestReport.of(None, None))

    @property
    def codes(self) -> list[str]:
        """How each attempt ended."""
        return [attempt.code for attempt in self.report.attempts]


class _Directory(ProviderDirectory):
    """Its secrets take their time."""

    takes_s = 0.0

    async def refresh(self, provider_id: str, *, timeout_s: float, used: ProviderConfig | None = None) -> bool:
        await asyncio.sleep(min(self.takes_s, timeout_s))
        return self.takes_s <= timeout_s and await super().refresh(provider_id, timeout_s=timeout_s, used=used)


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
    log: AttemptLog = field(init=False)

    def report(self, error: errors.BridgeError | None = None) -> RequestReport:
        """The report of the last request."""
        return RequestReport.of(self.log, error)

    def __post_init__(self) -> None:
        self.log = AttemptLog(self.clock)
        self.cooldowns = Cooldowns(self.clock)
        self.unsupported = UnsupportedFeatures(self.clock)
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
        limits = RoutingContext(
            max_cost_usd=self.limit_usd, breakers=self.breakers.views(), cooldowns_s=self.cooldowns.remaining_s()
        )
        return plan(self.request, Catalog.of(self.settings, PriceBook()), limits)

    def run_plan(
        self, *, remaining_s: float = 100, auto_fallback: bool = True, allow_fallback: bool = True
    ) -> ExecutionResult[ChatAnswer]:
        executor, deadline = self._executor(auto_fallback), Deadline.after(remaining_s + MARGIN_S, self.clock)
        self.log = AttemptLog(self.clock)

        async def run_plan() -> ExecutionResult[ChatAnswer]:
            session = await self.breakers.session()
            operation = Calls(self._call)
            return await executor.run(
                self.plan(), operation, deadline, session, InboundRequest(self.log), allow_fallback=allow_fallback
            )

        return run(run_plan(), self.clock)

    def read(
        self,
        *,
        remaining_s: float = 100,
        leaves_after_s: float | None = None,
        reading: Callable[[AnswerChunk], Awaitable[None]] | None = None,
    ) -> Story:
        """One request whose answer comes in chunks; `reading` is what the caller does with each."""
        return run(self.story(remaining_s=remaining_s, leaves_after_s=leaves_after_s, reading=reading), self.clock)

    async def story(
        self,
        *,
        remaining_s: float = 100,
        leaves_after_s: float | None = None,
        reading: Callable[[AnswerChunk], Awaitable[None]] | None = None,
    ) -> Story:
        """The same within a loop that runs already."""
        deadline, story = Deadline.after(remaining_s + MARGIN_S, self.clock), Story()
        started_s = self.clock.monotonic_s()
        session = await self.breakers.session()
        executor, log = self._executor(auto_fallback=True), AttemptLog(self.clock)
        answer: StreamedAnswer[Script] | None = None
        try:
            async with asyncio.timeout(leaves_after_s):
                answer = await executor.stream(self.plan(), Calls(self._open), deadline, session, InboundRequest(log))
                await self._read(answer, story, reading)
        except TimeoutError:
            story.gone = errors.ClientDisconnected() if answer is None else await answer.abandon()
        except errors.BridgeError as exc:
            story.error = exc
        story.report = RequestReport.of(log, story.error or story.gone)
        story.took_s = self.clock.monotonic_s() - started_s
        return story

    async def _read(
        self, answer: StreamedAnswer["Script"], story: Story, reading: Callable[[AnswerChunk], Awaitable[None]] | None
    ) -> None:
        async for chunk in answer:
            story.texts += [delta.text or "" for delta in chunk.choices]
            if reading is not None:
                await reading(chunk)
        story.receipt = answer.receipt

    async def _open(self, _provider: Provider, candidate: Candidate, timeout_s: float) -> "Script":
        self.called.append(candidate.entry.provider.id)
        self.allowed_s.append(timeout_s)
        outcome = self.outcomes[int(candidate.entry.provider.id[1:])].pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Script)
        return await outcome.begin()

    def _executor(self, auto_fallback: bool) -> Executor:  # noqa: FBT001 — it is what the executor is made with
        directory = _Directory(self.settings.providers, JsonHttp(self.clock), self.clock, self._reload)
        directory.takes_s = self.reload_s
        return Executor(
            directory,
            self.clock,
            cooldowns=self.cooldowns,
            unsupported=self.unsupported,
            auto_fallback=auto_fallback,
            jitter=lambda: 0.5,
        )

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
