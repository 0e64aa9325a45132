"""One request on its way down the plan: what was tried, what it cost so far, and who is still worth a try."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import BridgeError, FailureKind, ProviderError
from sekha_llm_bridge.execution.receipt import Attempt, Receipt
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.resilience import Refusal
from sekha_llm_bridge.routing import Candidate, CatalogModel, Exclusion, RoutePlan
from sekha_llm_bridge.routing.requirements import shut_out
from sekha_llm_bridge.usage import Usage

NOTHING = Decimal(0)
Bill = tuple[Decimal | None, Decimal | None]
"""What an attempt cost, and what it cost at most, in USD; None for not known."""


@dataclass
class Run:
    """The attempts of one request so far. `most` is how many of the plan may be tried; `passed_over` are those that
    turned out not worth it, or that a circuit breaker refused.
    """

    plan: RoutePlan
    most: int
    clock: Clock
    started_s: float
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[tuple[CatalogModel, ProviderError]] = field(default_factory=list)
    passed_over: list[tuple[CatalogModel, Exclusion]] = field(default_factory=list)
    _attempt_at_s: float = 0.0
    _spoilt: set[str] = field(default_factory=set)
    _blamed: set[str] = field(default_factory=set)
    _too_small: int = 0
    is_deadline_limited: bool = False

    def next_offer(self, entry: CatalogModel) -> Candidate | None:
        """What to ask this model for now; None when after what has happened it is not worth a try.

        A provider that refused the connection or the key would do so again. After a prompt was too long for one model
        only a strictly larger window is worth a try. What failed attempts have cost, or may have, is spent.
        """
        if len({(tried.provider_id, tried.model_id) for tried in self.attempts}) == self.most:
            return None
        if entry.provider.id in self._spoilt or entry.window <= self._too_small:
            return None
        offer = self.plan.offer(entry, spent_usd=self.spent_usd)
        if isinstance(offer, Candidate):
            return offer
        self.passed_over.append((entry, offer))
        return None

    def refused(self, entry: CatalogModel, refusal: Refusal) -> None:
        """Notes that the provider's breaker let nobody through after all: since the plan was made, it has changed."""
        self._spoilt.add(entry.provider.id)
        self.passed_over.append((entry, shut_out(refusal)))

    def blames(self, provider_id: str) -> bool:
        """True for the first failure of a provider in this request, and only for that."""
        is_first = provider_id not in self._blamed
        self._blamed.add(provider_id)
        return is_first

    def attempts_one(self) -> None:
        """Notes that an attempt begins; what comes of it is told by one of `failed`, `answered` and `abandoned`."""
        self._attempt_at_s = self.clock.monotonic_s()

    def failed(self, candidate: Candidate, failure: ProviderError) -> None:
        """Notes a failed attempt, with what it cost or may have cost."""
        entry = candidate.entry
        self.failures.append((entry, failure))
        if failure.kind is FailureKind.CONTEXT_LENGTH_EXCEEDED:
            self._too_small = max(self._too_small, entry.window)
        self._spoilt.discard(entry.provider.id)  # what an earlier attempt met with, a repeat may have got over
        if failure.kind.affects_all_models:
            self._spoilt.add(entry.provider.id)
        bill = bill_of_failure(candidate, failure)
        self._note(entry, bill, code=failure.code, status=failure.failure.provider_status, reason=failure.message)

    def abandoned(self, candidate: Candidate) -> None:
        """Notes an attempt whose answer nobody waited for. It may be billed, and nobody says so."""
        bill = (NOTHING, NOTHING) if candidate.entry.is_free else (None, candidate.quote.bound_usd)
        self._note(candidate.entry, bill, code="abandoned", status=None, reason="the caller went away")

    def answered(self, candidate: Candidate, usage: Usage | None) -> None:
        """Notes the attempt that answered."""
        cost_usd = bill_of(candidate, usage)
        cost_bound_usd = candidate.quote.bound_usd if usage is None else cost_usd
        self._note(candidate.entry, (cost_usd, cost_bound_usd), code="ok", status=200, reason="answered")

    @property
    def spent_usd(self) -> Decimal:
        """What the attempts so far have cost at most; under a limit every price is known."""
        return sum((attempt.cost_bound_usd or NOTHING for attempt in self.attempts), NOTHING)

    @property
    def known_usd(self) -> Decimal | None:
        """What the attempts cost, as far as it is known; None where a price is not."""
        known = [attempt.cost_usd for attempt in self.attempts if attempt.cost_usd is not None]
        return None if self._is_unpriced else sum(known, NOTHING)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Adds to whatever error comes of it what was tried, and what it cost."""
        try:
            yield
        except BridgeError as exc:
            self.tell(exc)
            raise

    def tell(self, error: BridgeError) -> None:
        """Adds to an error what was tried, and what it cost."""
        is_known = all(attempt.cost_usd is not None for attempt in self.attempts)
        error.attempts = tuple(attempt.public() for attempt in self.attempts)
        error.cost_usd = self.known_usd if is_known else None
        error.cost_bound_usd = None if self._is_unpriced else self.spent_usd

    @property
    def ms_so_far(self) -> int:
        """How long the request has taken up to now."""
        return self._ms_since(self.started_s)

    @property
    def _is_unpriced(self) -> bool:
        return any(attempt.cost_bound_usd is None for attempt in self.attempts)

    def receipt(self, candidate: Candidate) -> Receipt:
        """The receipt of the answer that `candidate` gave, after `answered`."""
        entry, quote = candidate.entry, candidate.quote
        bound_usd = self._bound_usd(quote.bound_usd)
        return Receipt(
            provider_id=entry.provider.id,
            model_id=entry.model.model_id,
            attempts=tuple(self.attempts),
            notes=(*self.plan.notes, *self._notes_on_cost(quote.bound_usd)),
            estimated_cost=quote.estimate_usd,
            cost_bound=bound_usd,
            cost=self.known_usd,
            price_source=entry.price.source if entry.price else None,
            latency_ms=self.ms_so_far,
        )

    def _bound_usd(self, last_usd: Decimal | None) -> Decimal | None:
        """What all attempts together cost at most, the last one by its quote, or by its bill where that is higher."""
        if last_usd is None or self._is_unpriced:
            return None
        last = self.attempts[-1].cost_bound_usd or NOTHING
        return self.spent_usd - last + max(last, last_usd)

    def _notes_on_cost(self, bound_usd: Decimal | None) -> Iterator[str]:
        unknown_usd = sum((a.cost_bound_usd or NOTHING for a in self.attempts if a.cost_usd is None), NOTHING)
        if unknown_usd:
            yield f"what broke off may have been billed, too: up to ${usd_text(unknown_usd)}"
        cost_usd = self.attempts[-1].cost_usd
        if bound_usd is not None and cost_usd is not None and cost_usd > bound_usd:
            provider_id = self.attempts[-1].provider_id
            yield f"{provider_id} did not heed the output limit: it billed more than ${usd_text(bound_usd)}"

    def _note(self, entry: CatalogModel, bill: Bill, *, code: str, status: int | None, reason: str) -> None:
        took_ms = self._ms_since(self._attempt_at_s)
        self.attempts.append(Attempt(*entry.key, code, status, reason, took_ms, *bill))

    def _ms_since(self, started_s: float) -> int:
        return round((self.clock.monotonic_s() - started_s) * 1000)


def bill_of(candidate: Candidate, usage: Usage | None) -> Decimal | None:
    """What an answer costs by the provider's own count; without a count, the estimate."""
    price = candidate.entry.price
    return candidate.quote.estimate_usd if price is None or usage is None else price.cost_usd(usage)


def bill_of_failure(candidate: Candidate, failure: ProviderError) -> Bill:
    """An unusable answer that counts its tokens is billed by them. What broke off may be billed, and nobody says so."""
    if failure.failure.usage is not None:
        cost_usd = bill_of(candidate, failure.failure.usage)
        return cost_usd, cost_usd
    if failure.failure.may_be_billed and not candidate.entry.is_free:
        return None, candidate.quote.bound_usd
    return NOTHING, NOTHING
