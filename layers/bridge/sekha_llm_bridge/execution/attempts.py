"""The attempts of one inbound request, with what each cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import Failure
from sekha_llm_bridge.routing import Candidate, RouteRequest
from sekha_llm_bridge.usage import Usage

NO_COST = Decimal(0)


class Attempt(NamedTuple):
    """One call of one provider. `status` is the provider's HTTP status, None where it sent no answer. `code` says how
    the attempt ended: `ok`, `abandoned`, or the code of a `FailureKind`. `usage` is the
    provider's count of tokens, or the bridge's estimate of a chat; None where neither is known.

    `cost_usd` is what the provider billed. It is None where that is unknown: the model has no known price, or the
    attempt was interrupted and may or may not be billed. `cost_bound_usd` is the most that the provider can have
    billed, None where the model has no known price.
    """

    provider_id: str
    model_id: str
    code: str
    status: int | None
    reason: str
    latency_ms: int
    cost_usd: Decimal | None
    cost_bound_usd: Decimal | None
    usage: Usage | None = None

    def public(self) -> Mapping[str, object]:
        """Returns the attempt as callers see it."""
        return {
            "provider_id": self.provider_id,
            "model_id": self.model_id,
            "status": self.status,
            "code": self.code,
            "reason": self.reason,
            "latency_ms": self.latency_ms,
            "cost": usd(self.cost_usd),
            "cost_bound": usd(self.cost_bound_usd),
        }


class AttemptLog:
    """The attempts of one inbound request, in order. A request that runs several plans, such as a search over all
    dimensions, has one log for all of them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._attempt_started_s = 0.0
        self.attempts: list[Attempt] = []

    def start_attempt(self) -> None:
        """Starts the time of an attempt, which ends with one of the `record_` methods."""
        self._attempt_started_s = self._clock.monotonic_s()

    def record_success(self, candidate: Candidate, usage: Usage | None, *, is_estimated: bool = False) -> None:
        """Adds the attempt that answered; without `usage` its cost is the estimate. Where the usage is the bridge's own
        estimate, the provider may bill up to the bound.
        """
        cost_usd = _cost_usd(candidate, usage)
        cost_bound_usd = candidate.quote.bound_usd if usage is None or is_estimated else cost_usd
        self._add(candidate, "ok", 200, "answered", cost_usd, cost_bound_usd, usage)

    def record_failure(self, candidate: Candidate, failure: Failure) -> None:
        """Adds a failed attempt. An unusable answer costs what its usage says; an interrupted one may cost up to its
        bound.
        """
        cost_usd: Decimal | None = NO_COST
        cost_bound_usd: Decimal | None = NO_COST
        if failure.usage is not None:
            cost_usd = cost_bound_usd = _cost_usd(candidate, failure.usage)
        elif failure.may_be_billed and not candidate.entry.is_free:
            cost_usd, cost_bound_usd = None, candidate.quote.bound_usd
        code, status = failure.kind.code, failure.provider_status
        self._add(candidate, code, status, failure.message, cost_usd, cost_bound_usd, failure.usage)

    def record_cancellation(self, candidate: Candidate, usage: Usage | None = None) -> None:
        """Adds an attempt that was cancelled because the caller disconnected. The provider may bill it; `usage` is what
        the bridge has counted so far.
        """
        is_free = candidate.entry.is_free
        cost_usd = NO_COST if is_free else None
        cost_bound_usd = NO_COST if is_free else candidate.quote.bound_usd
        self._add(candidate, "abandoned", None, "the client disconnected", cost_usd, cost_bound_usd, usage)

    def _add(
        self,
        candidate: Candidate,
        code: str,
        status: int | None,
        reason: str,
        cost_usd: Decimal | None,
        cost_bound_usd: Decimal | None,
        usage: Usage | None,
    ) -> None:
        latency_ms = round((self._clock.monotonic_s() - self._attempt_started_s) * 1000)
        key = candidate.entry.key
        self.attempts.append(Attempt(*key, code, status, reason, latency_ms, cost_usd, cost_bound_usd, usage))


def known_cost_usd(attempts: Sequence[Attempt]) -> Decimal | None:
    """Returns the sum of the costs that are known; None where the price of a model is unknown."""
    known_usd = NO_COST
    for attempt in attempts:
        if attempt.cost_bound_usd is None:
            return None
        if attempt.cost_usd is not None:
            known_usd += attempt.cost_usd
    return known_usd


def total_cost_usd(attempts: Sequence[Attempt]) -> Decimal | None:
    """Returns the sum of all costs; None where the cost of any attempt is unknown."""
    return None if any(attempt.cost_usd is None for attempt in attempts) else known_cost_usd(attempts)


def cost_bound_usd(attempts: Sequence[Attempt]) -> Decimal | None:
    """Returns the maximum cost of all attempts; None where the price of a model is unknown."""
    bound_usd = NO_COST
    for attempt in attempts:
        if attempt.cost_bound_usd is None:
            return None
        bound_usd += attempt.cost_bound_usd
    return bound_usd


def spent_usd(attempts: Sequence[Attempt]) -> Decimal:
    """Returns how much of a cost limit the attempts have used. Under a limit, every price is known."""
    spent = NO_COST
    for attempt in attempts:
        if attempt.cost_bound_usd:
            spent += attempt.cost_bound_usd
    return spent


def billed_usd(attempts: Sequence[Attempt]) -> Decimal:
    """Returns the sum of the costs that are known, without attempts whose cost is unknown."""
    return sum((attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None), NO_COST)


def after_attempts(route: RouteRequest, attempts: Sequence[Attempt]) -> RouteRequest:
    """Returns the request with what earlier calls of the same inbound request have used of its cost limit."""
    return replace(route, spent_usd=spent_usd(attempts), billed_usd=billed_usd(attempts))


def usd(amount: Decimal | None) -> float | None:
    """Returns an amount as a JSON number, which is what callers compute with."""
    return None if amount is None else float(amount)


def _cost_usd(candidate: Candidate, usage: Usage | None) -> Decimal | None:
    """Returns the cost of an answer by the provider's token count; without a count, the estimate."""
    price = candidate.entry.price
    return candidate.quote.estimate_usd if price is None or usage is None else price.cost_usd(usage)
