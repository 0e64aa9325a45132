"""What it means that nobody answered: the one error that a caller is told, with what to do about it."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from sekha_llm_bridge.errors import (
    AllProvidersFailed,
    BridgeError,
    CostLimitExceeded,
    NoCapableModel,
    NoProviderAvailable,
    OutOfTime,
    ProviderRateLimited,
    ProviderTimeout,
    RateLimited,
    Unavailable,
)
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.run import Run
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.routing import Barrier, CatalogModel, Exclusion, Listing, RoutePlan

SHORTEST_ATTEMPT_S = 0.05
_USUAL_PAUSE_S = 1.0
_NAMED = 3  # of many models with the same fault, so many are named


def require_candidates(plan: RoutePlan) -> None:
    """Raises the error that an empty plan means: all breakers open or cooling, too dear, or nothing capable."""
    if plan.ranked:
        return
    if waiting := [*plan.excluded_by(Barrier.BREAKER), *plan.excluded_by(Barrier.COOLING)]:
        raise _come_back(waiting)
    if costly := plan.excluded_by(Barrier.COST):
        raise _too_dear(plan, costly)
    faults = ((row.entry, row.exclusion) for row in plan.listings if row.exclusion)
    raise NoCapableModel(f"no configured model can do this: {_grouped(faults) or 'no model is configured'}")


def out_of_time() -> BridgeError:
    """The deadline passed."""
    return OutOfTime("the deadline passed before a provider answered; ask for less, or set a shorter timeout_secs")


def exhausted(run: Run, deadline: Deadline) -> BridgeError:
    """What it means that no candidate answered; at least one was tried."""
    last = run.failures[-1]
    if all(failure.status < 500 for failure in run.failures):
        return last
    if all(isinstance(failure, ProviderRateLimited) for failure in run.failures):
        return _rate_limited(run)
    if isinstance(last, ProviderTimeout) and deadline.remaining_s() <= SHORTEST_ATTEMPT_S:
        return out_of_time()
    tried = ", ".join(dict.fromkeys(f"{attempt.provider_id}: {attempt.reason}" for attempt in run.attempts))
    return AllProvidersFailed(f"every provider that could answer failed ({tried}){_not_tried(run)}")


def _come_back(waiting: Sequence[Listing]) -> Unavailable:
    soonest_s = min(row.exclusion.retry_after_s or _USUAL_PAUSE_S for row in waiting if row.exclusion)
    again = f"try again in {soonest_s:.0f} s"
    if all(row.exclusion and row.exclusion.barrier is Barrier.COOLING for row in waiting):
        message = f"every provider that could answer limits its rate now; {again}"
        return RateLimited(message, retry_after_s=soonest_s)
    message = f"every provider that could answer has an open circuit breaker; {again}"
    return NoProviderAvailable(message, retry_after_s=soonest_s)


def _rate_limited(run: Run) -> RateLimited:
    asked = [failure.retry_after_s for failure in run.failures]
    resting = [row.exclusion.retry_after_s for row in run.plan.excluded_by(Barrier.COOLING) if row.exclusion]
    soonest_s = min((wait for wait in (*asked, *resting) if wait is not None), default=_USUAL_PAUSE_S)
    message = f"every provider that could answer limits its rate now; try again in {soonest_s:.0f} s"
    return RateLimited(message, retry_after_s=soonest_s)


def _too_dear(plan: RoutePlan, costly: Sequence[Listing]) -> CostLimitExceeded:
    """Names the cheapest; one whose price is not known only where no other is left."""
    known = [row for row in costly if row.quote.bound_usd is not None]
    first = min(known or costly, key=lambda row: row.quote.bound_usd or Decimal(0))
    reason = first.exclusion.reason if first.exclusion else ""
    limit = f"no model fits the cost limit of ${usd_text(plan.limit_usd or Decimal(0))}"
    cheapest = "; the cheapest is " if known else "; of "
    remedy = ". Raise max_cost (and max_cost_per_request), or shorten the request" if known else ""
    return CostLimitExceeded(f"{limit}{cheapest}{_name(first.entry)}: {reason}{remedy}", param="max_cost")


def _not_tried(run: Run) -> str:
    """Who else could have answered, but for cost or breakers."""
    barriers = (Barrier.COST, Barrier.BREAKER, Barrier.COOLING)
    rows = (row for barrier in barriers for row in run.plan.excluded_by(barrier))
    left_out = [*run.passed_over, *((row.entry, row.exclusion) for row in rows if row.exclusion)]
    return f"; not tried was {_grouped(left_out)}" if left_out else ""


def _grouped(left_out: Iterable[tuple[CatalogModel, Exclusion]]) -> str:
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
