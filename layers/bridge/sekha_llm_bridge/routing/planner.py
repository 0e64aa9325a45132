"""The one planner: it plans every request, and `/route` explains its plans.

It plans a thousand models in a millisecond. So it decides by integers, checks only what a request requires, and
computes quotes and reasons only when they are read: a request that the first model answers reads one quote.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property

from sekha_llm_bridge.config.models import ProviderType, Task
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.resilience import BreakerState
from sekha_llm_bridge.routing import cost_quotes
from sekha_llm_bridge.routing.catalog import Catalog, CatalogModel, by_priority
from sekha_llm_bridge.routing.cost_limit import CostLimit, cost_limit
from sekha_llm_bridge.routing.model_refs import place_in
from sekha_llm_bridge.routing.names import is_task_name, why_disabled
from sekha_llm_bridge.routing.plan import Candidate, ConsideredModel, Exclusion, ExclusionKind, Quote
from sekha_llm_bridge.routing.requirements import (
    Requirement,
    availability_requirements,
    basic_requirements,
    capability_requirements,
    cost_requirements,
    rejection_requirements,
)
from sekha_llm_bridge.routing.route_request import RouteRequest, RoutingContext


@dataclass(frozen=True)
class RoutePlan:
    """Which models to try for a request, in which order, and why the others are excluded.

    `ranked` are the models that can answer now within the cost limit, best first. `blocked_providers` are the providers
    of models that only a circuit breaker excludes. Everything else is computed from these when it is read.
    """

    request: RouteRequest
    catalog: Catalog = field(repr=False)
    context: RoutingContext
    limit: CostLimit | None
    space: str | None
    ranked: tuple[CatalogModel, ...]
    blocked_providers: frozenset[str] = frozenset()

    @property
    def limit_usd(self) -> Decimal | None:
        """The cost limit; None where there is none."""
        return None if self.limit is None else self.limit.usd

    def candidate_for(
        self, entry: CatalogModel, *, spent_usd: Decimal, billed_usd: Decimal = Decimal(0)
    ) -> Candidate | Exclusion:
        """Returns the candidate for a model after attempts that may have cost `spent_usd`, of which `billed_usd` is
        known; an exclusion where too little of the limit is left.
        """
        left = None if self.limit is None else self.limit.after(spent_usd=spent_usd, billed_usd=billed_usd)
        wanted = cost_requirements(self.request, self.context, self.limit, left)
        if spent_usd and (unmet := _unmet(entry, wanted)) is not None:
            return unmet
        return cost_quotes.quoted_candidate(entry, self.request, left, self.context.min_output_tokens)

    def candidate_within(self, entry: CatalogModel, *, left_usd: Decimal) -> Candidate | None:
        """Returns the model with an answer that costs at most `left_usd`; None where no useful one does."""
        limit = CostLimit(left_usd, left_usd)
        if _unmet(entry, cost_requirements(self.request, self.context, limit)) is not None:
            return None
        return cost_quotes.quoted_candidate(entry, self.request, limit, self.context.min_output_tokens)

    def exclusion_of(self, entry: CatalogModel, *, prompt_tokens: int | None = None) -> Exclusion | None:
        """Returns why a model is not in the plan; None for one that is. With `prompt_tokens`: whether it would be in
        the plan if its prompt had so many tokens.
        """
        if prompt_tokens is None:
            return _unmet(entry, self._requirements)
        request = replace(self.request, exact_prompt_tokens={entry.key: prompt_tokens})
        return _unmet(entry, _requirements(request, self.context, self.limit, self.space))

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The ranked models as candidates, before anything is spent."""
        offers = (self.candidate_for(entry, spent_usd=Decimal(0)) for entry in self.ranked)
        return tuple(offer for offer in offers if isinstance(offer, Candidate))

    @cached_property
    def considered_models(self) -> tuple[ConsideredModel, ...]:
        """Every configured model: the candidates in order, then the excluded models with their reasons."""
        ranked = {entry.position for entry in self.ranked}
        all_models = _rank(by_priority(self.catalog.models), self.request, self.catalog, self.context)
        excluded = [entry for entry in all_models if entry.position not in ranked]
        rows = [self._row(candidate.entry, candidate.quote, None) for candidate in self.candidates]
        minimum = self.context.min_output_tokens
        for entry in excluded:
            quote = cost_quotes.quote(entry, self.request, self.limit, minimum)
            rows.append(self._row(entry, quote, self._exclusion(entry)))
        return tuple(rows)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a caller should know about the plan."""
        return (*self._notes_on_preference(), *self._notes_on_deprioritized_providers(), *self._notes_on_output_limit())

    def _notes_on_deprioritized_providers(self) -> Iterator[str]:
        providers = self.context.deprioritized_providers
        for provider_id in dict.fromkeys(entry.provider.id for entry in self.ranked if entry.provider.id in providers):
            state = self.context.breakers[provider_id].state.value
            yield f"{provider_id} comes last: its circuit breaker is {state}, and the scheduled checks probe it"

    def _notes_on_output_limit(self) -> Iterator[str]:
        asked, limit = self.request.output_tokens, self.request.output_limit
        if asked is not None and limit is not None and limit < asked:
            yield f"at most {limit} of the {asked} output tokens that were asked for: the limit of this bridge"

    def _notes_on_preference(self) -> Iterator[str]:
        """Yields a note on each model that was to be first and is not in the plan."""
        for ref in self.request.first_choices:
            if any(map(ref.matches, self.ranked)):
                continue
            is_preferred = ref in self.request.preferred
            label = "preferred_model" if is_preferred else "model"
            entry = next(filter(ref.matches, self.catalog.entries(ref.model_id)), None)
            if entry is not None:
                if self.request.is_pinned and not is_preferred:
                    continue  # the error, or the attempts, say it
                yield f"{label} {ref} was not used: {self._exclusion(entry).reason}"
            elif (reason := why_disabled(ref, self.catalog)) is not None:
                yield f"{label} {ref} was not used: its provider is disabled: {reason}"
            elif is_task_name(ref.model_id):
                yield f"{label} {ref} names a task, not a model, and was ignored"
            else:
                yield f"{label} {ref} is not configured and was ignored"

    @cached_property
    def reason(self) -> str:
        """Why the first candidate is first."""
        first = self.candidates[0]
        if any(ref.matches(first.entry) for ref in self.request.named):
            return "The model that the request names"
        if any(ref.matches(first.entry) for ref in self.request.preferred):
            return "The preferred model"
        if first.entry.provider.provider_type is ProviderType.OLLAMA and first.entry.is_free:
            return "Local model available, free"
        priority = first.entry.provider.priority
        n_same_priority = sum(entry.provider.priority == priority for entry in self.ranked)
        is_cheapest = self.context.cost_aware and n_same_priority > 1 and first.quote.estimate_usd is not None
        best = "cheapest of" if is_cheapest else "first of"
        has_served = first.entry.key == self.context.served_before and n_same_priority > 1
        again = "; it has lately answered a request that began as this one does" if has_served else ""
        return f"Priority {priority}, {best} {n_same_priority}, {_price_text(first)}{again}"

    def excluded_by(self, kind: ExclusionKind) -> tuple[ConsideredModel, ...]:
        """Returns the considered models with that kind of exclusion."""
        return tuple(row for row in self.considered_models if row.exclusion is not None and row.exclusion.kind is kind)

    @cached_property
    def _requirements(self) -> tuple[Requirement, ...]:
        wanted = _requirements(self.request, self.context, self.limit, self.space)
        # Availability last: a model is reported as temporarily unavailable only if nothing else excludes it.
        return (
            *basic_requirements(self.request),
            *wanted,
            *availability_requirements(self.context, self.catalog.pending),
        )

    def _exclusion(self, entry: CatalogModel) -> Exclusion:
        """Returns why a model is not ranked. One that meets all requirements is in the plan already, listed twice."""
        twice = Exclusion(ExclusionKind.NOT_CAPABLE, "this provider lists the same model above")
        return _unmet(entry, self._requirements) or twice

    def _row(self, entry: CatalogModel, quote: Quote, exclusion: Exclusion | None) -> ConsideredModel:
        breaker = self.context.breakers.get(entry.provider.id)
        return ConsideredModel(entry, quote, breaker.state if breaker else BreakerState.CLOSED, exclusion)


def plan(request: RouteRequest, catalog: Catalog, context: RoutingContext) -> RoutePlan:
    """Returns the plan over all configured models. Deterministic: the same arguments give the same plan."""
    if context.max_output_tokens is not None:
        request = replace(request, output_limit=context.max_output_tokens)
    limit = cost_limit(request, context)
    ranked = _rank(catalog.usable[request.task], request, catalog, context)
    space = _space(request, catalog, ranked)
    ranked = _meeting(_requirements(request, context, limit, space), ranked)
    blocked_providers = (
        context.blocked_breakers.keys() & {entry.provider.id for entry in ranked} if context.breakers else ()
    )
    ranked = _meeting(availability_requirements(context, catalog.pending), ranked)
    if catalog.has_repeated_models:
        ranked = without_repeated_models(ranked)
    if last := context.deprioritized_providers:
        ranked.sort(key=lambda entry: entry.provider.id in last)
    return RoutePlan(request, catalog, context, limit, space, tuple(ranked), frozenset(blocked_providers))


def _meeting(requirements: Iterable[Requirement], entries: list[CatalogModel]) -> list[CatalogModel]:
    for requirement in requirements:
        met = requirement.met
        entries = [entry for entry in entries if met(entry)]
    return entries


def without_repeated_models(ranked: list[CatalogModel]) -> list[CatalogModel]:
    """Returns the models without repetitions: a provider may list one model for several tasks."""
    first: dict[tuple[str, str], CatalogModel] = {}
    for entry in ranked:
        first.setdefault(entry.key, entry)
    return list(first.values())


def _requirements(
    request: RouteRequest, context: RoutingContext, limit: CostLimit | None, space: str | None
) -> Iterator[Requirement]:
    yield from capability_requirements(request, space)
    yield from rejection_requirements(request, context)
    yield from cost_requirements(request, context, limit)


def _unmet(entry: CatalogModel, requirements: Iterable[Requirement]) -> Exclusion | None:
    return next((requirement.exclusion(entry) for requirement in requirements if not requirement.met(entry)), None)


def _rank(
    entries: Sequence[CatalogModel], request: RouteRequest, catalog: Catalog, context: RoutingContext
) -> list[CatalogModel]:
    """Returns the models in order: the first choices of the request, then by `sort_key`, then by their place in the
    file, which is the order of `entries` and is kept by sorting.
    """
    ranked = sorted(entries, key=sort_key(request, catalog, context))
    if choices := request.first_choices:
        ranked.sort(key=place_in(choices))
    return ranked


def sort_key(request: RouteRequest, catalog: Catalog, context: RoutingContext) -> Callable[[CatalogModel], int]:
    """Returns a function of a model's sort key, lowest first: one integer, which compares faster than a tuple.

        bits 102 and up     bits 2 to 101        bit 1                              bit 0
        priority            cost in pico-USD     0 for the model that has served    0 for the default model of the
                                                 the same beginning, else 1         task, else 1

    The catalog has the priority in place (`CatalogModel.priority_bits`). The cost is 0 for all models unless routing is
    cost-aware; an unknown cost is `UNKNOWN_COST`, which is above any known cost and below bit 101. Where costs are not
    compared, or not known, what has been served does not count: it could let a dearer model stay first.
    """
    default = catalog.default_for(request.task)
    if not context.cost_aware:
        return lambda entry: entry.priority_bits + (entry.model_id != default)
    cost, served = cost_quotes.estimated_cost_in_pico_usd(request), context.served_before
    if served is None:
        return lambda entry: entry.priority_bits + (cost(entry) << 2) + (entry.model_id != default)

    def key(entry: CatalogModel) -> int:
        is_other = entry.key != served or entry.price is None
        return entry.priority_bits + (cost(entry) << 2) + (is_other << 1) + (entry.model_id != default)

    return key


def _space(request: RouteRequest, catalog: Catalog, ranked: list[CatalogModel]) -> str | None:
    """Returns the embedding space that all vectors of the answer must have.

    It is the requested one; else that of the first choice that can embed the text, else of the default model, else of
    the first in order. Breakers and costs do not change it, because vectors of two spaces must never mix; nor does the
    default model's absence from the list of its provider.
    """
    if request.task is not Task.EMBEDDING or request.space is not None:
        return request.space
    pinned, choices, default_id = request.pinned, request.first_choices, catalog.default_for(Task.EMBEDDING)
    eligible = [entry for entry in ranked if not pinned or any(ref.matches(entry) for ref in pinned)]
    required = tuple(capability_requirements(request, None))
    chosen = [entry for entry in eligible if any(ref.matches(entry) for ref in choices)]
    capable = (entry for entry in chosen if all(one.met(entry) for one in required))
    default = [entry for entry in eligible if entry.model_id == default_id]
    others = [entry for entry in eligible if entry not in chosen]
    if (preferred := next((entry.model.space for entry in (*capable, *default)), None)) is not None:
        return preferred
    if not choices and catalog.absent_space is not None:
        return catalog.absent_space
    return next((entry.model.space for entry in (*others, *eligible)), None)


def _price_text(first: Candidate) -> str:
    if first.entry.is_free:
        return "free"
    estimate_usd = first.quote.estimate_usd
    return "price not known" if estimate_usd is None else f"about ${usd_text(estimate_usd)}"
