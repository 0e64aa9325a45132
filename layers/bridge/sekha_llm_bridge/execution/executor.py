"""The failover loop: one attempt after another down the plan, until one answers, or time, money or models run out."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import CallOutcome, FailureKind, ProviderError
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.failure_reporting import (
    learn,
    run_to_completion,
    unexpected_failure,
    was_deadline_limited,
)
from sekha_llm_bridge.execution.plan_errors import (
    SHORTEST_ATTEMPT_S,
    deadline_exceeded,
    error_for_exhausted_plan,
    require_candidates,
)
from sekha_llm_bridge.execution.receipt import Receipt
from sekha_llm_bridge.execution.run import Run
from sekha_llm_bridge.execution.streamed_answer import AttemptResult, S, StreamedAnswer, T
from sekha_llm_bridge.observability import Metric, count
from sekha_llm_bridge.providers import Provider, ProviderDirectory
from sekha_llm_bridge.resilience import BreakerSession, Cooldowns, Permit, Refusal
from sekha_llm_bridge.routing import Candidate, RoutePlan
from sekha_llm_bridge.usage import Usage

# The system's, because environments restored from one snapshot share the state of any other.
_SYSTEM_RANDOM = random.SystemRandom()
_LONGEST_REST_S = 0.2
_LONGEST_REFRESH_S = 3.0  # the next candidate needs time, too
_QUICK_S = 0.5  # a connection that failed later than this has cost enough time


class Answer(Protocol):
    """What a call gives: a chat answer or vectors, with the provider's count of tokens where it sent one."""

    @property
    def usage(self) -> Usage | None:
        """Tokens, or None where the provider sent none."""
        ...


A = TypeVar("A", bound=Answer)
Call = Callable[[Provider, Candidate, float], Awaitable[T]]
"""One attempt: calls the provider for the candidate, within that many seconds."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[A]):
    """An answer, the candidate that gave it, and the receipt."""

    answer: A
    candidate: Candidate
    receipt: Receipt


class Executor:
    """Carries out plans with the configured providers. `jitter` gives numbers from 0 to 1."""

    def __init__(
        self,
        providers: ProviderDirectory,
        clock: Clock,
        *,
        cooldowns: Cooldowns,
        auto_fallback: bool = True,
        jitter: Callable[[], float] = _SYSTEM_RANDOM.random,
    ) -> None:
        self._providers = providers
        self._clock = clock
        self._cooldowns = cooldowns
        self._auto_fallback = auto_fallback
        self._jitter = jitter

    async def run_plan(
        self, plan: RoutePlan, call: Call[A], deadline: Deadline, watch: BreakerSession, *, allow_fallback: bool = True
    ) -> Outcome[A]:
        """The first usable answer down the plan. Every attempt may be billed by its provider; together they stay
        within the plan's limit. Each has the leave of its provider's breaker, which `watch` gives and which learns what
        came of it.

        Raises what the plan's emptiness means, `Unavailable` when nothing answered, or the `ProviderError` of a
        fault that would be the same everywhere; each with the attempts made.
        """
        run = self._run_down(plan, allow_fallback=allow_fallback)
        with run.telling():
            served = await self._descend(run, call, deadline, watch)
            run.answered(served.candidate, served.answer.usage)
            await watch.report_outcome(served.permit, CallOutcome.SUCCESS)
            return Outcome(served.answer, served.candidate, run.receipt(served.candidate))

    def stream(
        self, plan: RoutePlan, call: Call[S], deadline: Deadline, watch: BreakerSession, *, allow_fallback: bool = True
    ) -> StreamedAnswer[S]:
        """The same for an answer that comes in chunks: `call` returns when the first token has come. Raises at once
        what the plan's emptiness means; all else shows as the answer is read.
        """
        run = self._run_down(plan, allow_fallback=allow_fallback)
        return StreamedAnswer(lambda: self._descend(run, call, deadline, watch), run, deadline, watch, self._cooldowns)

    def _run_down(self, plan: RoutePlan, *, allow_fallback: bool) -> Run:
        for provider_id in sorted(plan.blocked_providers):
            count(Metric.REJECTIONS, provider=provider_id)
        require_candidates(plan)
        most = len(plan.ranked) if allow_fallback and self._auto_fallback else 1
        return Run(plan, most, self._clock, self._clock.monotonic_s())

    async def _descend(self, run: Run, call: Call[T], deadline: Deadline, watch: BreakerSession) -> AttemptResult[T]:
        for entry in run.plan.ranked:
            candidate = run.next_offer(entry)
            if candidate is None:
                continue
            if deadline.remaining_s() < SHORTEST_ATTEMPT_S:
                raise deadline_exceeded()
            permit = await _asked(watch, entry.provider.id, lasts_s=_longest_s(candidate, deadline))
            if isinstance(permit, Refusal):
                count(Metric.REJECTIONS, provider=entry.provider.id)
                run.refused(entry, permit)
                continue
            try:
                return AttemptResult(await self._try(candidate, call, deadline, run), candidate, permit)
            except ProviderError as exc:
                await run_to_completion(learn(permit, exc, run, watch, self._cooldowns))
                if not exc.kind.try_next:
                    raise
            except asyncio.CancelledError:  # whoever asked has gone
                run.abandoned(candidate)
                await run_to_completion(watch.report_outcome(permit, CallOutcome.NEUTRAL))
                raise
        raise error_for_exhausted_plan(run, deadline)

    async def _try(self, candidate: Candidate, call: Call[T], deadline: Deadline, run: Run) -> T:
        """The answer. The same candidate is tried again at most once: after a connection that could not be made, when
        nothing was sent, and after a rejected key, when the secrets fetched anew have changed.
        """
        started_s = self._clock.monotonic_s()
        try:
            return await self._timed(candidate, call, deadline, run)
        except ProviderError as exc:
            if not (exc.kind.try_next and await self._is_worth_repeating(exc, candidate, started_s, deadline)):
                raise
        return await self._timed(candidate, call, deadline, run)

    async def _is_worth_repeating(
        self, failure: ProviderError, candidate: Candidate, started_s: float, deadline: Deadline
    ) -> bool:
        # What is billed, or may be, leaves less of the limit: that is to be looked at first.
        if failure.failure.usage is not None or failure.failure.may_be_billed:
            return False
        if failure.kind is FailureKind.CREDENTIALS_REJECTED:
            return await self._refreshed(candidate, deadline)
        if failure.kind is not FailureKind.CONNECT_FAILED or self._clock.monotonic_s() - started_s > _QUICK_S:
            return False
        rest_s = self._jitter() * _LONGEST_REST_S
        if deadline.remaining_s() < rest_s + SHORTEST_ATTEMPT_S:
            return False
        await self._clock.sleep(rest_s)
        return True

    async def _refreshed(self, candidate: Candidate, deadline: Deadline) -> bool:
        """Whether the provider's secrets have changed, and there is time left to try them."""
        allowed_s = min(_LONGEST_REFRESH_S, deadline.remaining_s())
        if allowed_s < SHORTEST_ATTEMPT_S:
            return False
        changed = await self._providers.refresh(candidate.entry.provider.id, timeout_s=allowed_s)
        return changed and deadline.remaining_s() >= SHORTEST_ATTEMPT_S

    async def _timed(self, candidate: Candidate, call: Call[T], deadline: Deadline, run: Run) -> T:
        provider = candidate.entry.provider
        allowed_s = min(provider.timeout_secs, deadline.remaining_s())
        started_s = self._clock.monotonic_s()
        run.attempts_one()
        try:
            async with asyncio.timeout(allowed_s) as within:  # cancels the call, which closes its connection
                return await call(self._providers.get(provider.id), candidate, allowed_s)
        except Exception as exc:  # a mistake in one adapter must not keep the next provider from answering
            failure = exc if isinstance(exc, ProviderError) else unexpected_failure(exc, provider.id, allowed_s, within)
            took_s = self._clock.monotonic_s() - started_s
            run.failed(candidate, failure)
            run.is_deadline_limited = was_deadline_limited(failure, provider, allowed_s=allowed_s, took_s=took_s)
            if failure is exc:
                raise
            raise failure from exc


def _longest_s(candidate: Candidate, deadline: Deadline) -> float:
    """How long a candidate can take at most: as a probe, so long nobody else probes its provider."""
    once_s = min(candidate.entry.provider.timeout_secs, deadline.remaining_s())
    return min(once_s + _QUICK_S + _LONGEST_REFRESH_S + once_s, deadline.remaining_s())


async def _asked(watch: BreakerSession, provider_id: str, *, lasts_s: float) -> Permit | Refusal:
    """`BreakerSession.request_permit`. Where whoever asked goes away while a lease is taken, it is given back."""
    if provider_id not in watch.views():  # closed: there is no lease
        return await watch.request_permit(provider_id, lasts_s=lasts_s)
    asking = asyncio.ensure_future(watch.request_permit(provider_id, lasts_s=lasts_s))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        await run_to_completion(_given_back(watch, asking))
        raise


async def _given_back(watch: BreakerSession, asking: asyncio.Future[Permit | Refusal]) -> None:
    permit = await asking
    if isinstance(permit, Permit):
        await watch.report_outcome(permit, CallOutcome.NEUTRAL)
