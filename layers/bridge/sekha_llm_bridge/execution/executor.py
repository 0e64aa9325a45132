"""The failover loop: one attempt after another down the plan, until one answers or time or candidates run out."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, Protocol, TypeVar

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import (
    AllProvidersFailed,
    BridgeError,
    ContextLengthExceeded,
    CostLimitExceeded,
    CredentialsRejected,
    NoCapableModel,
    NoProviderAvailable,
    OutOfTime,
    ProviderError,
    ProviderRateLimited,
    ProviderServerError,
    ProviderTimeout,
    RateLimited,
)
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.receipt import Attempt, Receipt
from sekha_llm_bridge.observability import logger, where
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.providers import Provider, ProviderDirectory
from sekha_llm_bridge.routing import Candidate, Listing, RoutePlan
from sekha_llm_bridge.routing.plan import Barrier
from sekha_llm_bridge.usage import Usage

_SHORTEST_ATTEMPT_S = 0.05


class Answer(Protocol):
    """What a call gives: a chat answer or vectors, with the provider's count of tokens where it sent one."""

    @property
    def usage(self) -> Usage | None:
        """Tokens, or None where the provider sent none."""
        ...


A = TypeVar("A", bound=Answer)
Call = Callable[[Provider, Candidate, float], Awaitable[A]]
"""One attempt: calls the provider for the candidate, within that many seconds."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[A]):
    """An answer, the candidate that gave it, and the receipt."""

    answer: A
    candidate: Candidate
    receipt: Receipt


class Executor:
    """Carries out plans with the configured providers."""

    def __init__(self, providers: ProviderDirectory, clock: Clock, *, auto_fallback: bool = True) -> None:
        self._providers = providers
        self._clock = clock
        self._auto_fallback = auto_fallback

    async def perform(
        self, plan: RoutePlan, call: Call[A], deadline: Deadline, *, allow_fallback: bool = True
    ) -> Outcome[A]:
        """The first usable answer down the plan. Every attempt may be billed by its provider.

        Raises what the plan's emptiness means, `Unavailable` when nothing answered, or the `ProviderError` of a
        fault that would be the same everywhere.
        """
        require_candidates(plan)
        run = _Run(self._clock, self._clock.monotonic_s())
        candidates = plan.candidates if allow_fallback and self._auto_fallback else plan.candidates[:1]
        for candidate in candidates:
            if not run.may_try(candidate):
                continue
            if deadline.remaining_s() < _SHORTEST_ATTEMPT_S:
                raise OutOfTime("the deadline passed before a provider answered", attempts=run.public())
            answer = await self._attempt(candidate, call, deadline, run)
            if answer is not None:
                return Outcome(answer, candidate, run.receipt(candidate, plan, answer.usage))
        raise run.exhausted(deadline, plan)

    async def _attempt(self, candidate: Candidate, call: Call[A], deadline: Deadline, run: "_Run") -> A | None:
        """The answer, or None when the next candidate may be tried.

        After a rejected key the secrets are fetched anew; if they have changed, the candidate is tried once more.
        """
        for may_refresh in (True, False):
            try:
                return await self._timed(candidate, call, deadline, run)
            except CredentialsRejected:
                if not (may_refresh and await self._refreshed(candidate, deadline)):
                    return None
            except ProviderError as exc:
                if not exc.try_next:
                    raise
                return None
        return None

    async def _refreshed(self, candidate: Candidate, deadline: Deadline) -> bool:
        """Whether the provider's secrets have changed, and there is time left to try them."""
        remaining_s = deadline.remaining_s()
        if remaining_s < _SHORTEST_ATTEMPT_S:
            return False
        changed = await self._providers.refresh(candidate.entry.provider.id, timeout_s=remaining_s)
        return changed and deadline.remaining_s() >= _SHORTEST_ATTEMPT_S

    async def _timed(self, candidate: Candidate, call: Call[A], deadline: Deadline, run: "_Run") -> A:
        provider = candidate.entry.provider
        allowed_s = min(provider.timeout_secs, deadline.remaining_s())
        started_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(allowed_s):
                answer = await call(self._providers.get(provider.id), candidate, allowed_s)
        except TimeoutError as exc:
            failure = ProviderTimeout(f"the provider did not answer within {allowed_s:.1f} s")
            run.failed(candidate, failure, started_s)
            raise failure from exc
        except ProviderError as exc:
            run.failed(candidate, exc, started_s)
            raise
        except Exception as exc:  # a mistake in one adapter must not keep the next provider from answering
            logger().error("unexpected error in an attempt", extra={"provider": provider.id, "where": where(exc)})
            mistake = ProviderServerError("the bridge could not work with this provider; its log says where")
            run.failed(candidate, mistake, started_s)
            raise mistake from exc
        run.answered(candidate, started_s)
        return answer


class _Run:
    """The attempts of one request so far."""

    def __init__(self, clock: Clock, started_s: float) -> None:
        self._clock = clock
        self._started_s = started_s
        self._attempts: list[Attempt] = []
        self._failures: list[ProviderError] = []
        self._too_small = 0

    def may_try(self, candidate: Candidate) -> bool:
        """After a prompt was too long for one model, only a strictly larger window is worth a try."""
        return candidate.entry.model.context_window > self._too_small

    def failed(self, candidate: Candidate, failure: ProviderError, started_s: float) -> None:
        """Notes a failed attempt."""
        self._failures.append(failure)
        self._note(candidate, failure.code, failure.provider_status, failure.message, started_s)
        if isinstance(failure, ContextLengthExceeded):
            self._too_small = max(self._too_small, candidate.entry.model.context_window)

    def answered(self, candidate: Candidate, started_s: float) -> None:
        """Notes the attempt that answered."""
        self._note(candidate, "ok", 200, "answered", started_s)

    def _note(self, candidate: Candidate, code: str, status: int | None, reason: str, started_s: float) -> None:
        entry = candidate.entry
        ms = round((self._clock.monotonic_s() - started_s) * 1000)
        self._attempts.append(Attempt(entry.provider.id, entry.model.model_id, code, status, reason, ms))

    def public(self) -> list[dict[str, object]]:
        """The attempts as callers see them."""
        return [dict(attempt.public()) for attempt in self._attempts]

    def receipt(self, candidate: Candidate, plan: RoutePlan, usage: Usage | None) -> Receipt:
        """The receipt of the answer that `candidate` gave."""
        entry, quote = candidate.entry, candidate.quote
        return Receipt(
            provider_id=entry.provider.id,
            model_id=entry.model.model_id,
            attempts=tuple(self._attempts),
            notes=plan.notes,
            estimated_cost=quote.estimate_usd,
            cost_bound=quote.bound_usd,
            cost=_cost(candidate, usage),
            price_source=entry.price.source if entry.price else None,
            latency_ms=round((self._clock.monotonic_s() - self._started_s) * 1000),
        )

    def exhausted(self, deadline: Deadline, plan: RoutePlan) -> BridgeError:
        """What it means that no candidate answered."""
        last = self._failures[-1]
        if isinstance(last, ContextLengthExceeded) and all(type(failure) is type(last) for failure in self._failures):
            return last
        if all(isinstance(failure, ProviderRateLimited) for failure in self._failures):
            waits = [failure.retry_after_s for failure in self._failures if failure.retry_after_s is not None]
            message = "every provider that could answer limits its rate now; try again later"
            return RateLimited(message, attempts=self.public(), retry_after_s=min(waits, default=1.0))
        if isinstance(last, ProviderTimeout) and deadline.remaining_s() <= _SHORTEST_ATTEMPT_S:
            return OutOfTime("the deadline passed before a provider answered", attempts=self.public())
        tried = ", ".join(dict.fromkeys(f"{a.provider_id}: {a.reason}" for a in self._attempts))
        left_out = [*plan.excluded_by(Barrier.COST), *plan.excluded_by(Barrier.BREAKER)]
        reasons = ((_name(row), row.exclusion.reason) for row in left_out if row.exclusion)
        passed_over = "".join(f"; not tried was {name}: {reason}" for name, reason in reasons)
        message = f"every provider that could answer failed ({tried}){passed_over}"
        return AllProvidersFailed(message, attempts=self.public())


def _cost(candidate: Candidate, usage: Usage | None) -> Decimal | None:
    """The bill by the provider's own count; without a count, the estimate."""
    price = candidate.entry.price
    if price is None or usage is None:
        return candidate.quote.estimate_usd
    return price.cost_usd(
        prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, cached_tokens=usage.cached_tokens
    )


def require_candidates(plan: RoutePlan) -> None:
    """Raises the error that an empty plan means: too expensive, all breakers open, or nothing capable."""
    if plan.candidates:
        return
    if plan.excluded_by(Barrier.BREAKER):
        raise NoProviderAvailable(
            "every provider that could answer has an open circuit breaker; try again later", retry_after_s=60
        )
    if costly := plan.excluded_by(Barrier.COST):
        known = [row for row in costly if row.quote.bound_usd is not None]
        first = min(known or costly, key=lambda row: row.quote.bound_usd or Decimal(0))
        reason = first.exclusion.reason if first.exclusion else ""
        limit = f"no model fits the cost limit of ${usd_text(plan.limit_usd or Decimal(0))}"
        cheapest = "; the cheapest is " if known else "; of "
        raise CostLimitExceeded(f"{limit}{cheapest}{_name(first)}: {reason}", param="max_cost")
    reasons = dict.fromkeys(f"{_name(row)}: {row.exclusion.reason}" for row in plan.listings if row.exclusion)
    raise NoCapableModel("no configured model can do this: " + ("; ".join(reasons) or "no model is configured"))


def _name(row: Listing) -> str:
    return f"{row.entry.provider.id}/{row.entry.model.model_id}"
