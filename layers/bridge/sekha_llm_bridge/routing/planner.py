"""The one planner: `/route` explains with it, and every real request is served by it.

It is made for a thousand models in a millisecond. So it decides in whole numbers, holds only what a request asks for
against each model, and works out quotes and reasons when somebody looks at them: a request that the first model answers
looks at one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from sekha_llm_bridge.config.models import ProviderType, Task
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.resilience import BreakerState
from sekha_llm_bridge.routing import cost_quotes
from sekha_llm_bridge.routing.catalog import Catalog, CatalogModel, by_priority
from sekha_llm_bridge.routing.plan import Candidate, ConsideredModel, Exclusion, ExclusionKind, Quote
from sekha_llm_bridge.routing.requirements import (
    Requirement,
    affordability,
    availability,
    fitness,
    usable_at_all,
)
from sekha_llm_bridge.routing.route_request import RouteRequest, RoutingContext


@dataclass(frozen=True)
class RoutePlan:
    """Which models to try for a request, in which order, and why the others not.

    `ranked` are those that can answer now and fit the limit, first to last; `blocked_providers` the providers of
    others that
    only a circuit breaker keeps out. The rest is worked out from it when it is looked at.
    """

    request: RouteRequest
    catalog: Catalog = field(repr=False)
    limits: RoutingContext
    limit_usd: Decimal | None
    space: str | None
    ranked: tuple[CatalogModel, ...]
    blocked_providers: frozenset[str] = frozenset()

    def offer(self, entry: CatalogModel, *, spent_usd: Decimal) -> Candidate | Exclusion:
        """What to ask this model for when so much of the limit is spent; an exclusion when too little is left."""
        left_usd = None if self.limit_usd is None else self.limit_usd - spent_usd
        wanted = affordability(self.request, self.limits, self.limit_usd, spent_usd=spent_usd)
        if spent_usd and (unmet := _unmet(entry, wanted)) is not None:
            return unmet
        return cost_quotes.candidate(entry, self.request, left_usd, self.limits.min_output_tokens)

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The ranked models, each as it would be tried first."""
        offers = (self.offer(entry, spent_usd=Decimal(0)) for entry in self.ranked)
        return tuple(offer for offer in offers if isinstance(offer, Candidate))

    @cached_property
    def considered_models(self) -> tuple[ConsideredModel, ...]:
        """Every configured model: the candidates in order, then the others with their reasons."""
        kept = {entry.position for entry in self.ranked}
        everyone = _rank(by_priority(self.catalog.models), self.request, self.catalog, self.limits)
        left_out = [entry for entry in everyone if entry.position not in kept]
        rows = [self._row(candidate.entry, candidate.quote, None) for candidate in self.candidates]
        return (*rows, *(self._row(entry, self._quote(entry), self._exclusion(entry)) for entry in left_out))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a caller should know of how the plan came about."""
        return (*self._notes_on_preference(), *self._notes_on_last_resorts())

    def _notes_on_last_resorts(self) -> Iterator[str]:
        last = self.limits.deprioritized_providers
        there = (entry.provider.id for entry in self.ranked if entry.provider.id in last) if last else ()
        for provider_id in dict.fromkeys(there):
            state = self.limits.breakers[provider_id].state.value
            yield f"{provider_id} comes last: its circuit breaker is {state}, and the scheduled checks probe it"

    def _notes_on_preference(self) -> tuple[str, ...]:
        preferred = self.request.preferred
        if preferred is None or any(entry.model.model_id == preferred for entry in self.ranked):
            return ()
        named = self.catalog.named(preferred)
        if not named:
            return (f"preferred_model {preferred} is not configured and was passed over",)
        return (f"preferred_model {preferred} was passed over: {self._exclusion(named[0]).reason}",)

    @cached_property
    def reason(self) -> str:
        """Why the first candidate is first."""
        first = self.candidates[0]
        if self.request.pinned is not None:
            return "The model that the request names"
        if first.entry.model.model_id == self.request.preferred:
            return "The preferred model"
        if first.entry.provider.provider_type is ProviderType.OLLAMA and first.entry.is_free:
            return "Local model available, free"
        priority = first.entry.provider.priority
        rivals = sum(entry.provider.priority == priority for entry in self.ranked)
        is_cheapest = self.limits.cost_aware and rivals > 1 and first.quote.estimate_usd is not None
        best = "cheapest of" if is_cheapest else "first of"
        return f"Priority {priority}, {best} {rivals}, {_price_text(first)}"

    def excluded_by(self, kind: ExclusionKind) -> tuple[ConsideredModel, ...]:
        """The considered_models that one kind of kind keeps out."""
        return tuple(row for row in self.considered_models if row.exclusion is not None and row.exclusion.kind is kind)

    @cached_property
    def _requirements(self) -> tuple[Requirement, ...]:
        wanted = _requirements(self.request, self.limits, self.limit_usd, self.space)
        # Availability last, so that only those are told to be waited for that waiting would help.
        return (*usable_at_all(self.request), *wanted, *availability(self.limits))

    def _exclusion(self, entry: CatalogModel) -> Exclusion:
        """Why a model is not ranked. What meets everything all the same is in the plan already, by the same name."""
        twice = Exclusion(ExclusionKind.UNFIT, "this provider lists the same model above")
        return _unmet(entry, self._requirements) or twice

    def _quote(self, entry: CatalogModel) -> Quote:
        return cost_quotes.quote(entry, self.request, self.limit_usd, self.limits.min_output_tokens)

    def _row(self, entry: CatalogModel, quote: Quote, exclusion: Exclusion | None) -> ConsideredModel:
        breaker = self.limits.breakers.get(entry.provider.id)
        return ConsideredModel(entry, quote, breaker.state if breaker else BreakerState.CLOSED, exclusion)


def plan(request: RouteRequest, catalog: Catalog, limits: RoutingContext) -> RoutePlan:
    """Every configured model, considered. Deterministic: the same arguments give the same plan."""
    limit_usd = _lower(request.max_cost_usd, limits.max_cost_usd)
    ranked = _rank(catalog.usable[request.task], request, catalog, limits)
    space = _space(request, catalog, ranked)
    ranked = _meeting(_requirements(request, limits, limit_usd, space), ranked)
    blocked_providers = limits.shut_out.keys() & {entry.provider.id for entry in ranked} if limits.breakers else ()
    ranked = _meeting(availability(limits), ranked)
    if catalog.repeated:
        ranked = _once_each(ranked)
    if last := limits.deprioritized_providers:
        ranked.sort(key=lambda entry: entry.provider.id in last)
    return RoutePlan(request, catalog, limits, limit_usd, space, tuple(ranked), frozenset(blocked_providers))


def _meeting(requirements: Iterable[Requirement], entries: list[CatalogModel]) -> list[CatalogModel]:
    for requirement in requirements:
        met = requirement.met
        entries = [entry for entry in entries if met(entry)]
    return entries


def _once_each(ranked: list[CatalogModel]) -> list[CatalogModel]:
    """A model that one provider lists twice, for two tasks, is tried once."""
    first: dict[tuple[str, str], CatalogModel] = {}
    for entry in ranked:
        first.setdefault(entry.key, entry)
    return list(first.values())


def _requirements(
    request: RouteRequest, limits: RoutingContext, limit_usd: Decimal | None, space: str | None
) -> Iterator[Requirement]:
    yield from fitness(request, space)
    yield from affordability(request, limits, limit_usd)


def _unmet(entry: CatalogModel, requirements: Iterable[Requirement]) -> Exclusion | None:
    return next((need.exclusion(entry) for need in requirements if not need.met(entry)), None)


def _lower(*limits: Decimal | None) -> Decimal | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _rank(
    entries: Sequence[CatalogModel], request: RouteRequest, catalog: Catalog, limits: RoutingContext
) -> list[CatalogModel]:
    """Preferred, priority, known and low cost, default of the task, place in the file.

    `entries` come by priority and place in the file, and sorting keeps what is equal in order. One whole number says
    the rest, because that compares fast.
    """
    default = catalog.default_for(request.task)
    cost = cost_quotes.estimated_cost_in_pico_usd(request) if limits.cost_aware else _no_cost
    ranked = sorted(entries, key=lambda entry: entry.rank_base + (cost(entry) << 1) + (entry.model_id != default))
    if request.preferred is not None:
        ranked.sort(key=lambda entry: entry.model.model_id != request.preferred)
    return ranked


def _no_cost(_entry: CatalogModel) -> int:
    return 0


def _space(request: RouteRequest, catalog: Catalog, ranked: list[CatalogModel]) -> str | None:
    """The embedding space that the answer stays in.

    It is the one asked for; else that of the preferred model where that can take the text, else of the default model,
    else of the first in order. Neither breakers nor the cost can sway it, because vectors of two spaces never mix.
    """
    if request.task is not Task.EMBEDDING or request.space is not None:
        return request.space
    eligible = [entry for entry in ranked if request.pinned in {None, entry.model.model_id}]
    needs = tuple(fitness(request, None))
    preferred = (e for e in _named(request.preferred, eligible) if all(need.met(e) for need in needs))
    default = _named(catalog.default_for(Task.EMBEDDING), eligible)
    others = [entry for entry in eligible if entry.model.model_id != request.preferred]
    return next((entry.model.space for entry in (*preferred, *default, *others, *eligible)), None)


def _named(model_id: str | None, entries: list[CatalogModel]) -> list[CatalogModel]:
    return [entry for entry in entries if entry.model.model_id == model_id]


def _price_text(first: Candidate) -> str:
    if first.entry.is_free:
        return "free"
    estimate_usd = first.quote.estimate_usd
    return "price not known" if estimate_usd is None else f"about ${usd_text(estimate_usd)}"
