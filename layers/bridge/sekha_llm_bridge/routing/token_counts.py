"""Which models' providers should count the tokens of a request, because the plan depends on it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.routing import cost_quotes
from sekha_llm_bridge.routing.catalog import CatalogModel
from sekha_llm_bridge.routing.model_refs import place_in
from sekha_llm_bridge.routing.plan import ExclusionKind
from sekha_llm_bridge.routing.planner import RoutePlan, sort_key, without_repeated_models

MAX_COUNTS = 2  # for one request
_DECIDED_BY_TOKENS = frozenset({ExclusionKind.COST, ExclusionKind.CONTEXT})
_OPTIMISM = 2  # a text of few different words may have half of the tokens that are counted as its minimum
_WORTHWHILE_GAIN = 1.1  # a count is worth its round trip if it may allow a tenth more output


def models_to_count(plan: RoutePlan) -> tuple[CatalogModel, ...]:
    """Returns at most `MAX_COUNTS` models whose exact count may change the plan, best first: models before the first
    candidate that only the estimated size of the prompt excludes, and the first candidate where the cost limit
    allows it less output than the request wants, and a count may allow much more.
    """
    if plan.request.task is Task.EMBEDDING:
        return ()
    usable: Sequence[CatalogModel] = plan.catalog.usable[plan.request.task]
    if len(plan.ranked) == len(usable):
        usable = plan.ranked[:1]  # nothing is excluded: only the output of the first may depend on a count
    countable = [entry for entry in usable if entry.capabilities.counts_tokens and _is_usable(entry, plan)]
    if not countable:
        return ()
    best_first = without_repeated_models(sorted(countable, key=_rank_of(plan)))
    return tuple(islice(_deciding(best_first, plan), MAX_COUNTS))


def _is_usable(entry: CatalogModel, plan: RoutePlan) -> bool:
    """Returns whether the provider may be asked: only with a closed circuit breaker, because a count has no permit to
    probe; not for a model in cool-down; and not with images by URL: their server may answer with larger ones when the
    request itself is sent. A provider whose secret is not known yet cannot be asked.
    """
    if entry.provider.id in plan.catalog.pending:
        return False
    if entry.provider.id in plan.context.breakers or entry.key in plan.context.cooldowns_s:
        return False
    return not plan.request.images.by_url


def _deciding(countable: Iterable[CatalogModel], plan: RoutePlan) -> Iterator[CatalogModel]:
    first = plan.ranked[0] if plan.ranked else None
    rank_of = _rank_of(plan)
    for entry in countable:
        if first is not None and entry.key == first.key:
            if _may_have_more_output(entry, plan):
                yield entry
        elif (first is None or rank_of(entry) < rank_of(first)) and _may_fit(entry, plan):
            yield entry


def _may_fit(entry: CatalogModel, plan: RoutePlan) -> bool:
    """Returns whether only the size of the prompt excludes the model, and a lower count would not."""
    exclusion = plan.exclusion_of(entry)
    if exclusion is None or exclusion.kind not in _DECIDED_BY_TOKENS:
        return False
    return plan.exclusion_of(entry, prompt_tokens=_lowest_count(plan)) is None


def _may_have_more_output(entry: CatalogModel, plan: RoutePlan) -> bool:
    """Returns whether the lowest count that is possible would allow much more output than the bound does."""
    counted = replace(plan.request, exact_prompt_tokens={entry.key: _lowest_count(plan)})
    now = cost_quotes.output_within(entry, plan.request, plan.limit)
    return cost_quotes.output_within(entry, counted, plan.limit) > now * _WORTHWHILE_GAIN


def _lowest_count(plan: RoutePlan) -> int:
    return plan.request.prompt.minimum // _OPTIMISM + 1


def _rank_of(plan: RoutePlan) -> Callable[[CatalogModel], tuple[bool, int, int, int]]:
    """Returns a function of a model's place in the order of the plan."""
    key, place = sort_key(plan.request, plan.catalog, plan.context), place_in(plan.request.first_choices)
    last = plan.context.deprioritized_providers

    def rank(entry: CatalogModel) -> tuple[bool, int, int, int]:
        return entry.provider.id in last, place(entry), key(entry), entry.position

    return rank
