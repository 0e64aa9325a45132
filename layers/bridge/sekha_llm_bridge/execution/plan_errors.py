"""What it means that nobody answered: the one error that a caller is told, with what to do about it."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

from sekha_llm_bridge.errors import (
    AllProvidersFailed,
    BridgeError,
    CostLimitExceeded,
    DeadlineExceeded,
    FailureKind,
    NoCapableModel,
    NoProviderAvailable,
    ProviderError,
    RateLimited,
    Unavailable,
)
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.run import Run
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.routing import CatalogModel, ConsideredModel, Exclusion, ExclusionKind, RoutePlan

SHORTEST_ATTEMPT_S = 0.2  # nothing is sent that could hardly be answered
_USUAL_PAUSE_S = 1.0
_WAITING = (ExclusionKind.BREAKER, ExclusionKind.COOLING)
_ALONE = "a longer timeout_secs gives it more time"
_NAMED = 3  # of many models with the same fault, so many are named
LeftOut = tuple[CatalogModel, Exclusion]


def require_candidates(plan: RoutePlan) -> None:
    """Raises the error that an empty plan means: all breakers open or cooling, too dear, or nothing capable."""
    if plan.ranked:
        return
    if waiting := [*plan.excluded_by(ExclusionKind.BREAKER), *plan.excluded_by(ExclusionKind.COOLING)]:
        raise _come_back(_left_out(waiting))
    if costly := plan.excluded_by(ExclusionKind.COST):
        raise _too_dear(plan, costly)
    faults = _grouped(_left_out(plan.considered_models))
    raise NoCapableModel(f"no configured model can do this: {faults or 'no model is configured'}")


def deadline_exceeded() -> BridgeError:
    """The deadline passed."""
    remedy = "ask for less, or set a shorter timeout_secs, which leaves the next model more time"
    return DeadlineExceeded(f"the deadline passed before a provider answered; {remedy}")


def error_for_exhausted_plan(run: Run, deadline: Deadline) -> BridgeError:
    """What it means that no candidate answered. Where none was even tried, their breakers let nobody through."""
    failures = [failure for _, failure in run.failures]
    if not failures:
        return _come_back([*run.passed_over, *_left_out(run.plan.excluded_by(ExclusionKind.BREAKER))])
    last = failures[-1]
    # That a prompt was too long for a small model says nothing of why a larger one did not answer.
    others = [failure for failure in failures if failure.kind is not FailureKind.CONTEXT_LENGTH_EXCEEDED]
    if not others:
        return _with_larger_windows_out_of_reach(run, last)
    if all(failure.status < 500 for failure in others):
        return others[-1]
    if all(failure.kind is FailureKind.RATE_LIMITED for failure in others):
        return _rate_limited(run, others)
    if last.kind is FailureKind.TIMEOUT and deadline.remaining_s() <= SHORTEST_ATTEMPT_S:
        return deadline_exceeded()
    is_alone = min(run.most, len(run.plan.ranked)) == 1
    tried = ", ".join(dict.fromkeys(_what_failed(*pair, is_alone=is_alone) for pair in run.failures))
    return AllProvidersFailed(f"{_who_failed(run)} ({tried}){_not_tried(run)}")


def _with_larger_windows_out_of_reach(run: Run, last: ProviderError) -> BridgeError:
    """The prompt was too long for whoever was asked: wait for a larger window, pay for it, or shorten the prompt."""
    largest = max(entry.window for entry, _ in run.failures)
    beyond = [row for row in run.plan.considered_models if row.exclusion and row.entry.window > largest]
    if waiting := [row for row in beyond if row.exclusion and row.exclusion.kind in _WAITING]:
        return _come_back(_left_out(waiting))
    if costly := [row for row in beyond if row.exclusion and row.exclusion.kind is ExclusionKind.COST]:
        return _too_dear(run.plan, costly)
    return last


def _what_failed(entry: CatalogModel, failure: ProviderError, *, is_alone: bool) -> str:
    remedy = _ALONE if is_alone and failure.kind is FailureKind.TIMEOUT else failure.kind.remedy
    return f"{entry.provider.id}: {failure.message}" + (f"; {remedy}" if remedy else "")


def _left_out(rows: Iterable[ConsideredModel]) -> list[LeftOut]:
    return [(row.entry, row.exclusion) for row in rows if row.exclusion]


def _come_back(waiting: Sequence[LeftOut]) -> Unavailable:
    soonest_s = min(exclusion.retry_after_s or _USUAL_PAUSE_S for _, exclusion in waiting)
    barriers = {exclusion.kind for _, exclusion in waiting}
    if barriers == {ExclusionKind.COOLING}:
        return _limited(soonest_s)
    state = "has an open circuit breaker" + (" or limits its rate" if ExclusionKind.COOLING in barriers else "")
    message = f"every provider that could answer {state} ({_grouped(waiting)}); {_again(soonest_s)}"
    return NoProviderAvailable(message, retry_after_s=soonest_s)


def _rate_limited(run: Run, failures: Sequence[ProviderError]) -> RateLimited:
    asked = [failure.retry_after_s for failure in failures]
    resting = [row.exclusion.retry_after_s for row in run.plan.excluded_by(ExclusionKind.COOLING) if row.exclusion]
    return _limited(min(_USUAL_PAUSE_S if wait_s is None else wait_s for wait_s in (*asked, *resting)))


def _limited(soonest_s: float) -> RateLimited:
    message = f"every provider that could answer limits its rate now; {_again(soonest_s)}"
    return RateLimited(message, retry_after_s=soonest_s)


def _again(soonest_s: float) -> str:
    return f"try again in {max(1, math.ceil(soonest_s))} s"


def _who_failed(run: Run) -> str:
    if run.most < len(run.plan.ranked):
        return "the first choice failed, and no other may be tried"
    return "every provider that could answer failed"


def _too_dear(plan: RoutePlan, costly: Sequence[ConsideredModel]) -> CostLimitExceeded:
    """Names the cheapest; one whose price is not known only where no other is left."""
    known = [row for row in costly if row.quote.bound_usd is not None]
    first = min(known or costly, key=lambda row: row.quote.bound_usd or Decimal(0))
    reason = first.exclusion.reason if first.exclusion else ""
    limit = f"no model fits the cost limit of ${usd_text(plan.limit_usd or Decimal(0))}"
    cheapest = "; the cheapest is " if known else "; of "
    remedy = ". Raise max_cost (and max_cost_per_request), or shorten the request" if known else ""
    if plan.request.features_with_unbounded_cost:
        remedy = ". Leave it out, or name a free model"
    return CostLimitExceeded(f"{limit}{cheapest}{_name(first.entry)}: {reason}{remedy}", param="max_cost")


def _not_tried(run: Run) -> str:
    """Who else could have answered, but for cost or breakers."""
    barriers = (ExclusionKind.COST, ExclusionKind.BREAKER, ExclusionKind.COOLING)
    rows = (row for kind in barriers for row in run.plan.excluded_by(kind))
    left_out = [*run.passed_over, *_left_out(rows)]
    return f"; not tried was {_grouped(left_out)}" if left_out else ""


def _grouped(left_out: Iterable[LeftOut]) -> str:
    """`a/x, a/y: cannot see images; b/z: …`, with no more than a few names for each reason."""
    groups: dict[str, list[str]] = {}
    for entry, exclusion in left_out:
        groups.setdefault(exclusion.reason, []).append(_name(entry))
    return "; ".join(f"{_some(names)}: {reason}" for reason, names in groups.items())


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _name(entry: CatalogModel) -> str:
    return "/".join(entry.key)
