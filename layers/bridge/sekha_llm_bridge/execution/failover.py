"""Which candidates of the plan one request has tried, and which one may be tried next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.access.quotas import PICO_USD
from sekha_llm_bridge.access.spending import BudgetShortage
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError
from sekha_llm_bridge.execution.attempts import Attempt, AttemptLog, billed_usd, spent_usd
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.execution.receipt import Receipt, make_receipt
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.resilience import Refusal
from sekha_llm_bridge.routing import Candidate, CatalogModel, Exclusion, ExclusionKind, RoutePlan
from sekha_llm_bridge.routing.requirements import exclusion_for_open_breaker
from sekha_llm_bridge.usage import Usage


class FailedAttempt(NamedTuple):
    """A failed attempt at one model. `is_deadline_limited`: it had less time than its provider may take, because
    earlier attempts had used the time up, so the provider is not to blame.
    """

    entry: CatalogModel
    error: ProviderError
    is_deadline_limited: bool = False

    @property
    def failure(self) -> Failure:
        """How it failed."""
        return self.error.failure


@dataclass
class FailoverState:
    """One run down one plan. `max_candidates` is how many models may be tried. `skipped` are models that turned out not
    to be worth an attempt, or that a circuit breaker or a budget refused; `shortages` are those of budgets. `mask`
    makes a provider's text fit for a caller. `notes` are for the receipt.
    """

    plan: RoutePlan
    max_candidates: int
    inbound: InboundRequest
    clock: Clock
    mask: Callable[[str], str]
    failed: list[FailedAttempt] = field(default_factory=list)
    skipped: list[tuple[CatalogModel, Exclusion]] = field(default_factory=list)
    shortages: list[tuple[CatalogModel, BudgetShortage]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _excluded_providers: set[str] = field(default_factory=set)
    _providers_counted: set[str] = field(default_factory=set)
    _largest_exceeded_window: int = 0

    def __post_init__(self) -> None:
        """Remembers where the plan begins, in time and in the log."""
        self._started_s = self.clock.monotonic_s()
        self._earlier_attempts = len(self.log.attempts)

    @property
    def log(self) -> AttemptLog:
        """The attempts of the whole request."""
        return self.inbound.attempts

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts of this plan, in order."""
        return self.log.attempts[self._earlier_attempts :]

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the plan began."""
        return round((self.clock.monotonic_s() - self._started_s) * 1000)

    def next_candidate(self, entry: CatalogModel) -> Candidate | None:
        """Returns what to ask this model for; None when it is not worth an attempt.

        A provider that refused the connection or the key would do so again. After a prompt was too long for one model,
        only a strictly larger window is worth an attempt. What failed attempts cost, or may have cost, is spent.
        """
        attempts = self.attempts
        if attempts and len({(attempt.provider_id, attempt.model_id) for attempt in attempts}) == self.max_candidates:
            return None
        if entry.provider.id in self._excluded_providers or entry.window <= self._largest_exceeded_window:
            return None
        candidate = self.plan.candidate_for(entry, spent_usd=spent_usd(attempts), billed_usd=billed_usd(attempts))
        if isinstance(candidate, Candidate):
            return candidate
        self.skipped.append((entry, candidate))
        return None

    def candidate_within(self, entry: CatalogModel, *, left_usd: Decimal) -> Candidate | None:
        """Returns the model with an answer short enough for `left_usd`; None where no useful answer is."""
        candidate = self.plan.candidate_within(entry, left_usd=left_usd)
        if candidate is not None and candidate.output_cap is not None:
            self.notes.append(
                f"what is left of a budget, ${usd_text(left_usd)}, allows {candidate.output_cap} output tokens at most"
            )
        return candidate

    def record_budget_shortage(self, entry: CatalogModel, shortage: BudgetShortage) -> None:
        """Skips the model: a budget has no room for it."""
        short = shortage.shortage
        reason = (
            f"it may cost ${usd_text(Decimal(short.needed) / PICO_USD)} more, and"
            f" ${usd_text(shortage.left_usd)} is left of the {short.counter.value}'s budget of {shortage.owner_name}"
        )
        self.shortages.append((entry, shortage))
        self.skipped.append((entry, Exclusion(ExclusionKind.BUDGET, reason)))

    def pop_models_awaiting_room(self) -> list[CatalogModel]:
        """Returns the models that budgets had no room for only because of what is reserved, as not skipped any more."""
        waiting = [entry for entry, shortage in self.shortages if shortage.is_temporary]
        self.shortages = [pair for pair in self.shortages if not pair[1].is_temporary]
        budget = ExclusionKind.BUDGET
        self.skipped = [pair for pair in self.skipped if pair[1].kind is not budget or pair[0] not in waiting]
        return waiting

    def record_breaker_refusal(self, entry: CatalogModel, refusal: Refusal) -> None:
        """Skips the provider: its breaker has changed since the plan was made."""
        self._excluded_providers.add(entry.provider.id)
        self.skipped.append((entry, exclusion_for_open_breaker(refusal)))

    def mark_first_failure(self, provider_id: str) -> bool:
        """Returns True for the provider's first failure in this request, and False for every later one."""
        is_first = provider_id not in self._providers_counted
        self._providers_counted.add(provider_id)
        return is_first

    def record_failure(self, candidate: Candidate, error: ProviderError, *, is_deadline_limited: bool) -> None:
        """Records a failed attempt, and which models it makes not worth an attempt."""
        entry, kind = candidate.entry, error.kind
        self.failed.append(FailedAttempt(entry, error, is_deadline_limited))
        if kind is FailureKind.CONTEXT_LENGTH_EXCEEDED:
            self._largest_exceeded_window = max(self._largest_exceeded_window, entry.window)
        self._excluded_providers.discard(entry.provider.id)  # a retry may fail in another way than the first attempt
        if kind.affects_all_models:
            self._excluded_providers.add(entry.provider.id)
        self.log.record_failure(candidate, error.failure)

    def record_success(self, candidate: Candidate, usage: Usage | None, *, is_estimated: bool = False) -> Receipt:
        """Records the attempt that answered; returns the receipt of the plan."""
        self.log.record_success(candidate, usage, is_estimated=is_estimated)
        return make_receipt(self.plan, candidate, self.attempts, self.elapsed_ms, notes=self.notes)
