"""The cost limit of a request: who has set it, and what is left of it."""

from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.routing.route_request import RouteRequest, RoutingContext


class CostLimit(NamedTuple):
    """What is left of the maximum cost of a request, in USD, by the upper bounds of its attempts; `total_usd` is the
    maximum itself.

    `is_default`: neither the configuration nor the request nor its key has set it, and there is no budget. Then it must
    not refuse what costs less: it goes by the estimated tokens of the prompt instead of their upper bound, which may be
    several times as much; it excludes no model without a known price and no feature of unbounded cost; and where nobody
    says how long an answer may be, it limits answers only if the limit does not allow the number that current models
    accept. So of earlier attempts, it counts only what is known to be billed.
    """

    usd: Decimal
    total_usd: Decimal
    is_default: bool = False

    def after(self, *, spent_usd: Decimal, billed_usd: Decimal) -> "CostLimit":
        """Returns what is left after attempts that may have cost `spent_usd`, of which `billed_usd` is known to be
        billed; it may be negative.
        """
        return self._replace(usd=self.usd - (billed_usd if self.is_default else spent_usd))


def cost_limit(request: RouteRequest, context: RoutingContext) -> CostLimit | None:
    """Returns what is left of the lowest limit for this request, at least 0; None where there is no limit."""
    budget_usd = None if context.budget is None else context.budget.usd
    set_limits = (request.max_cost_usd, context.max_cost_usd, budget_usd)
    chosen = [usd for usd in set_limits if usd is not None]
    limits = chosen if context.default_max_cost_usd is None else [*chosen, context.default_max_cost_usd]
    if not limits:
        return None
    total_usd = min(limits)
    whole = CostLimit(total_usd, total_usd, is_default=not chosen)
    left = whole.after(spent_usd=request.spent_usd, billed_usd=request.billed_usd)
    return left._replace(usd=max(left.usd, Decimal(0)))
