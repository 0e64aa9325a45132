"""Composes what requests reserve of quotas. Only requests of callers with a quota import it."""

from datetime import timedelta

from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.access.quotas import Quotas, QuotaStore
from sekha_llm_bridge.access.quotas.memory import MemoryQuotaStore
from sekha_llm_bridge.access.spending import RequestSpending, quotas_of
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import BudgetConfig
from sekha_llm_bridge.connections import Connections

_GRACE = timedelta(seconds=30)  # after the deadline of a request, until its reservations lapse


class SpendingMaker:
    """Makes the reservations of requests, over the accounts in `table`; without one, in `store`, or in memory."""

    def __init__(
        self,
        budget: BudgetConfig,
        *,
        table: str,
        connections: Connections,
        clock: Clock,
        store: QuotaStore | None = None,
    ) -> None:
        self._budget = budget
        self._clock = clock
        if table and store is None:
            from sekha_llm_bridge.access.quotas.dynamodb import DynamoQuotaStore

            store = DynamoQuotaStore(table, connections, clock)
        self.quotas = Quotas(store or MemoryQuotaStore(), clock)

    def make(self, caller: Caller, *, remaining_s: float) -> RequestSpending | None:
        """Returns the reservations of a request that ends within `remaining_s`; None where no quota counts it."""
        budget = self._budget
        owned = quotas_of(caller, daily_usd=budget.daily_usd, monthly_usd=budget.monthly_usd)
        if not owned:
            return None
        lapses = self._clock.now() + timedelta(seconds=remaining_s) + _GRACE
        return RequestSpending(self.quotas, owned, clock=self._clock, lapses=lapses, fails_open=budget.fail_open)
