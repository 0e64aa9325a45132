"""Reserves the cost of an attempt before it is made, where the caller or the bridge has a budget."""

from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.access.spending import Need, RequestSpending
from sekha_llm_bridge.errors import BridgeError, BudgetExceeded, RateLimited
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.failover import FailoverState
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.routing import Candidate
from sekha_llm_bridge.routing.cost_quotes import estimated_output_tokens, prompt_estimate

_MAX_SHARE = 0.5  # of the time that is left, to wait for room in a budget; the provider needs the rest
_RETRY_AFTER_S = 2.0


class Reservation(NamedTuple):
    """A candidate whose cost bound is reserved, where anything must be. `end` must be called after the attempt."""

    candidate: Candidate
    need: Need
    spending: RequestSpending | None

    def end(self) -> None:
        """Ends the attempt: its cost is in the log from now on."""
        if self.spending is not None:
            self.spending.end_attempt(self.need)


async def reserve(candidate: Candidate, state: FailoverState, *, max_wait_s: float) -> Reservation | None:
    """Reserves for an attempt; for a shorter answer where only that fits into what is left of a budget. Waits for up to
    `max_wait_s` while only requests under way leave no room. Returns None, noted in `state`, where there is no room.

    Raises `KeyLimitExceeded` and `AccessUnavailable`, as `RequestSpending.reserve` does.
    """
    spending = state.inbound.spending
    need = _need(candidate, state)
    if spending is None:
        return Reservation(candidate, need, None)
    while True:
        shortage = await spending.reserve(need, spent=state.inbound.spent, max_wait_s=max_wait_s)
        if shortage is None:
            return Reservation(candidate, need, spending)
        smaller = None if shortage.is_temporary else state.candidate_within(candidate.entry, left_usd=shortage.left_usd)
        if smaller is None or _need(smaller, state).cost_usd >= need.cost_usd:
            state.record_budget_shortage(candidate.entry, shortage)
            return None
        candidate, need = smaller, _need(smaller, state)


def error_for_shortages(state: FailoverState) -> BridgeError | None:
    """Returns the error for a plan in which budgets left no candidate; None where they had no part in it.

    One whose room is only reserved at present becomes a 429: a retry makes sense.
    """
    if not state.shortages:
        return None
    entry, found = min(state.shortages, key=lambda pair: not pair[1].is_temporary)
    short, fields = found.shortage, found.public()
    period = {"day": "daily", "month": "monthly"}[short.counter.value]
    spent, limit = usd_text(Decimal(str(fields["spent_usd"]))), usd_text(Decimal(str(fields["limit_usd"])))
    subject = f"the {period} budget of {found.owner_name}"
    if found.is_temporary:
        return RateLimited(
            f"{subject} is reserved by requests that are under way: of ${limit}, ${spent} is spent; try again in"
            f" {_RETRY_AFTER_S:.0f} s",
            retry_after_s=_RETRY_AFTER_S,
        )
    needed = usd_text(Decimal(str(fields["needed_usd"])))
    return BudgetExceeded(
        f"{subject} has no room for this request: of ${limit}, ${spent} is spent, and {'/'.join(entry.key)} may cost"
        f" ${needed}. It is renewed at {fields['renews_at']}; free models can be used until then",
        budget=fields,
    )


def _need(candidate: Candidate, state: FailoverState) -> Need:
    entry, request = candidate.entry, state.plan.request
    cost_usd = Decimal(0) if entry.is_free else candidate.quote.bound_usd or Decimal(0)
    output_tokens = min(estimated_output_tokens(entry, request), candidate.quote.output_cap) * request.n_choices
    return Need(cost_usd, prompt_estimate(entry, request) + output_tokens)


def longest_wait_s(deadline: Deadline) -> float:
    """Returns how long a request may wait for others to settle: the provider needs the rest of the time."""
    return max(0.0, deadline.remaining_s() * _MAX_SHARE)
