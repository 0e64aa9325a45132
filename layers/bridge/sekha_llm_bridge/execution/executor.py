"""The failover loop: attempts down the plan, one after another, until a candidate answers or time, money or candidates
run out.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sekha_llm_bridge.cancellation import run_to_completion
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import CallOutcome, FailureKind, ProviderError
from sekha_llm_bridge.execution.budgets import longest_wait_s, reserve
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.failover import FailoverState
from sekha_llm_bridge.execution.failure_reporting import is_deadline_limited, report_failure
from sekha_llm_bridge.execution.free_calls import FreeCalls
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.execution.plan_errors import (
    MIN_ATTEMPT_S,
    deadline_exceeded,
    error_for_exhausted_plan,
    require_candidates,
)
from sekha_llm_bridge.execution.provider_call import call_within, has_new_credentials
from sekha_llm_bridge.execution.receipt import Receipt
from sekha_llm_bridge.execution.streamed_answer import AttemptResult, S, StreamedAnswer, T
from sekha_llm_bridge.observability import Metric, count
from sekha_llm_bridge.providers import Provider, ProviderDirectory
from sekha_llm_bridge.resilience import BreakerSession, Cooldowns, Permit, Refusal, UnsupportedFeatures
from sekha_llm_bridge.routing import Candidate, CatalogModel, RoutePlan
from sekha_llm_bridge.usage import Usage

# The system's source, because environments that were restored from one snapshot share the state of any other.
_SYSTEM_RANDOM = random.SystemRandom()
_MAX_BACKOFF_S = 0.2
_MAX_REFRESH_S = 3.0  # the next candidate needs time, too
_QUICK_FAILURE_S = 0.5  # after a connection that took longer to fail, a retry would cost too much time

T_co = TypeVar("T_co", covariant=True)


class Answer(Protocol):
    """What an operation returns: a chat answer or vectors."""

    @property
    def usage(self) -> Usage | None:
        """The provider's count of tokens, None where it sent none."""
        ...

    @property
    def usage_is_estimated(self) -> bool:
        """Whether `usage` is the bridge's own estimate."""
        ...


class Operation(Protocol[T_co]):
    """The call that a request makes to each candidate: a chat or an embedding."""

    async def call(self, provider: Provider, candidate: Candidate, *, timeout_s: float) -> T_co:
        """Makes one attempt, within `timeout_s`. Raises `ProviderError`. May be billed by the provider."""
        ...


A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True)
class ExecutionResult(Generic[A]):
    """An answer, the candidate that gave it, and the receipt."""

    answer: A
    candidate: Candidate
    receipt: Receipt


class Executor:
    """Runs plans with the configured providers. `jitter` returns numbers from 0 to 1."""

    def __init__(
        self,
        providers: ProviderDirectory,
        clock: Clock,
        *,
        cooldowns: Cooldowns,
        unsupported: UnsupportedFeatures,
        auto_fallback: bool = True,
        jitter: Callable[[], float] = _SYSTEM_RANDOM.random,
    ) -> None:
        self._providers = providers
        self._clock = clock
        self._cooldowns = cooldowns
        self._unsupported = unsupported
        self._auto_fallback = auto_fallback
        self._jitter = jitter
        self._free_calls = FreeCalls(providers, clock)

    async def run(
        self,
        plan: RoutePlan,
        operation: Operation[A],
        deadline: Deadline,
        session: BreakerSession,
        inbound: InboundRequest,
        *,
        allow_fallback: bool = True,
    ) -> ExecutionResult[A]:
        """Returns the first usable answer down the plan. Every attempt is added to those of `inbound`, and may be
        billed by its provider; together they stay within the plan's cost limit. What `inbound` reserves for them, its
        owner settles. Each needs a permit of its provider's breaker.

        Raises the error that an empty plan means, `Unavailable` when no candidate answered, or the `ProviderError` of a
        failure that would be the same everywhere.
        """
        state = self._start(plan, inbound, allow_fallback=allow_fallback)
        result = await self._try_candidates(state, operation, deadline, session)
        answer = result.answer
        receipt = state.record_success(result.candidate, answer.usage, is_estimated=answer.usage_is_estimated)
        await session.report_outcome(result.permit, CallOutcome.SUCCESS)
        return ExecutionResult(result.answer, result.candidate, receipt)

    async def stream(
        self,
        plan: RoutePlan,
        operation: Operation[S],
        deadline: Deadline,
        session: BreakerSession,
        inbound: InboundRequest,
        *,
        allow_fallback: bool = True,
    ) -> StreamedAnswer[S]:
        """Runs a plan as `run` does, for an answer in chunks. Returns when the first token has arrived; until then the
        caller does not notice a failover.

        A probe ends with the first token: the provider has answered, and the rest of the answer adds nothing to that.
        """
        state = self._start(plan, inbound, allow_fallback=allow_fallback)
        result = await self._try_candidates(state, operation, deadline, session)
        answer = StreamedAnswer(result, state, deadline, session, self._cooldowns)
        await answer.end_probe()
        return answer

    def _start(self, plan: RoutePlan, inbound: InboundRequest, *, allow_fallback: bool) -> FailoverState:
        for provider_id in sorted(plan.blocked_providers):
            count(Metric.REJECTIONS, provider=provider_id)
        require_candidates(plan)
        max_candidates = len(plan.ranked) if allow_fallback and self._auto_fallback else 1
        return FailoverState(plan, max_candidates, inbound, self._clock, self._providers.mask)

    async def _try_candidates(
        self, state: FailoverState, operation: Operation[T], deadline: Deadline, session: BreakerSession
    ) -> AttemptResult[T]:
        result = await self._try_each(state.plan.ranked, state, operation, deadline, session, until_s=None)
        if result is None and (waiting := state.pop_models_awaiting_room()):
            until_s = self._clock.monotonic_s() + longest_wait_s(deadline)
            result = await self._try_each(waiting, state, operation, deadline, session, until_s=until_s)
        if result is not None:
            return result
        raise error_for_exhausted_plan(state, deadline)

    async def _try_each(
        self,
        entries: Sequence[CatalogModel],
        state: FailoverState,
        operation: Operation[T],
        deadline: Deadline,
        session: BreakerSession,
        *,
        until_s: float | None,
    ) -> AttemptResult[T] | None:
        """Returns the answer of the first model that gives one; None where none does. Waits until `until_s` (monotonic
        time) for room in budgets; not at all without it.
        """
        for entry in entries:
            candidate = state.next_candidate(entry)
            if candidate is None:
                continue
            if deadline.remaining_s() < MIN_ATTEMPT_S:
                raise deadline_exceeded()
            wait_s = 0.0 if until_s is None else max(0.0, until_s - self._clock.monotonic_s())
            reservation = await reserve(candidate, state, max_wait_s=wait_s)
            if reservation is None:
                continue
            try:
                result = await self._try_candidate(reservation.candidate, state, operation, deadline, session)
            finally:
                reservation.end()
            if result is not None:
                return result
        return None

    async def _try_candidate(
        self,
        candidate: Candidate,
        state: FailoverState,
        operation: Operation[T],
        deadline: Deadline,
        session: BreakerSession,
    ) -> AttemptResult[T] | None:
        """Returns the candidate's answer; None where the next one may be tried."""
        permit = await _request_permit(session, candidate, deadline)
        if isinstance(permit, Refusal):
            count(Metric.REJECTIONS, provider=candidate.entry.provider.id)
            state.record_breaker_refusal(candidate.entry, permit)
            return None
        try:
            return AttemptResult(await self._try(candidate, operation, deadline, state), candidate, permit)
        except ProviderError as exc:
            await run_to_completion(self._report_failure(exc, candidate, permit, state, session, deadline))
            if not exc.kind.try_next:
                raise
            return None
        except asyncio.CancelledError:  # the client has disconnected
            state.log.record_cancellation(candidate, Usage(state.plan.request.prompt.estimate))
            await run_to_completion(session.report_outcome(permit, CallOutcome.NEUTRAL))
            raise

    async def _report_failure(
        self,
        error: ProviderError,
        candidate: Candidate,
        permit: Permit,
        state: FailoverState,
        session: BreakerSession,
        deadline: Deadline,
    ) -> None:
        """Reports the failure, and remembers what the model lacks. After a 403 that may concern this request only, the
        provider's free call decides whether the breaker counts it.
        """
        key, feature = candidate.entry.key, error.failure.unsupported_feature
        if feature is not None:
            self._unsupported.add(*key, feature)
        is_denied = error.kind is FailureKind.ACCESS_DENIED
        is_reachable = is_denied and await self._free_calls.is_answered(key[0], deadline)
        await report_failure(permit, state, session, self._cooldowns, is_reachable=is_reachable)

    async def _try(self, candidate: Candidate, operation: Operation[T], deadline: Deadline, state: FailoverState) -> T:
        """Makes one attempt, and at most one retry: after a refused connection, when nothing was sent, and after a
        rejected key, when the secrets have changed.
        """
        started_s, used = self._clock.monotonic_s(), self._providers.config(candidate.entry.provider.id)
        try:
            return await self._attempt(candidate, operation, deadline, state)
        except ProviderError as exc:
            if not (exc.kind.try_next and await self._should_retry(exc, candidate, used, started_s, deadline)):
                raise
        return await self._attempt(candidate, operation, deadline, state)

    async def _should_retry(
        self, error: ProviderError, candidate: Candidate, used: ProviderConfig, started_s: float, deadline: Deadline
    ) -> bool:
        # What was billed, or may have been, leaves less of the cost limit: the loop must look at that first.
        if error.failure.usage is not None or error.failure.may_be_billed:
            return False
        if error.kind is FailureKind.CREDENTIALS_REJECTED:
            allowed_s = min(_MAX_REFRESH_S, deadline.remaining_s())
            if allowed_s < MIN_ATTEMPT_S:
                return False
            provider_id = candidate.entry.provider.id
            is_changed = await has_new_credentials(error, self._providers, provider_id, used=used, timeout_s=allowed_s)
            return is_changed and deadline.remaining_s() >= MIN_ATTEMPT_S
        is_quick = self._clock.monotonic_s() - started_s <= _QUICK_FAILURE_S
        backoff_s = self._jitter() * _MAX_BACKOFF_S
        has_time = deadline.remaining_s() >= backoff_s + MIN_ATTEMPT_S
        if not (error.kind is FailureKind.CONNECT_FAILED and is_quick and has_time):
            return False
        await self._clock.sleep(backoff_s)
        return True

    async def _attempt(
        self, candidate: Candidate, operation: Operation[T], deadline: Deadline, state: FailoverState
    ) -> T:
        provider = candidate.entry.provider
        allowed_s = min(provider.timeout_secs, deadline.remaining_s())
        started_s = self._clock.monotonic_s()
        state.log.start_attempt()
        try:
            return await call_within(
                lambda: operation.call(self._providers.get(provider.id), candidate, timeout_s=allowed_s),
                provider_id=provider.id,
                timeout_s=allowed_s,
                timeout_message=f"the provider did not answer within {allowed_s:.1f} s",
            )
        except ProviderError as failed:
            exc = failed.masked(state.mask)
            took_s = self._clock.monotonic_s() - started_s
            is_limited = is_deadline_limited(exc, provider, allowed_s=allowed_s, took_s=took_s)
            state.record_failure(candidate, exc, is_deadline_limited=is_limited)
            raise exc from failed


async def _request_permit(session: BreakerSession, candidate: Candidate, deadline: Deadline) -> Permit | Refusal:
    """Requests a permit for the maximum time of the attempt. During this time, no other instance probes the provider.
    If the client disconnects meanwhile, an acquired lease is released.
    """
    provider = candidate.entry.provider
    attempt_s = min(provider.timeout_secs, deadline.remaining_s())
    lasts_s = min(attempt_s + _QUICK_FAILURE_S + _MAX_REFRESH_S + attempt_s, deadline.remaining_s())
    if provider.id not in session.views():  # closed: there is no lease
        return await session.request_permit(provider.id, lasts_s=lasts_s)
    request = asyncio.ensure_future(session.request_permit(provider.id, lasts_s=lasts_s))
    try:
        return await asyncio.shield(request)
    except asyncio.CancelledError:

        async def give_back() -> None:
            permit = await request
            if isinstance(permit, Permit):
                await session.report_outcome(permit, CallOutcome.NEUTRAL)

        await run_to_completion(give_back())
        raise
