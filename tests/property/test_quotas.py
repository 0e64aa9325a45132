"""Whatever requests do, and whenever functions are killed: what is spent and reserved never exceeds a budget, nothing
stays reserved, and what was settled is what is used.
"""

from decimal import Decimal
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.access.quotas import Account, Counter, Quota, Quotas
from sekha_llm_bridge.access.quotas.memory import MemoryQuotaStore
from sekha_llm_bridge.access.spending import Need, RequestSpending
from tests.fakes.clock import FakeClock
from tests.fakes.virtual_time import run

LIMIT, HOLD_S = 1000, 60
NOTHING = Need(Decimal(0), 0)
PICO = Decimal("1e-12")

# One request: how far the clock goes before it, its bound, the share of the bound that it costs, and how it ends.
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 30, 61, 3600, 24 * 3600]),
        st.integers(0, LIMIT + 1),
        st.integers(0, 100),
        st.sampled_from(["at once", "later", "killed"]),
    ),
    max_size=40,
)


@given(REQUESTS, st.randoms(use_true_random=False))
def test_no_order_of_events_exceeds_a_budget(requests: list[tuple[int, int, int, str]], random: Random) -> None:
    clock, store = FakeClock(), MemoryQuotaStore()
    quotas = Quotas(store, clock)
    quota = Quota("key_a", {Counter.DAY: LIMIT, Counter.MONTH: 3 * LIMIT})
    settled_in_month: dict[str, int] = {}
    open_requests: list[tuple[RequestSpending, int, str]] = []

    def account() -> Account:
        return run(quotas.read(quota), clock)

    def settle(request: RequestSpending, cost: int, month: str) -> None:
        run(request.settle(Need(cost * PICO, 0)), clock)
        settled_in_month[month] = settled_in_month.get(month, 0) + cost

    for pause_s, bound, share, end in requests:
        if pause_s >= HOLD_S:  # every function ends before its reservation lapses
            while open_requests:
                settle(*open_requests.pop(random.randrange(len(open_requests))))
        clock.advance(pause_s)
        month = clock.now().isoformat()[:7]
        lapses = clock.now().timestamp() + HOLD_S
        request = RequestSpending(
            quotas,
            (quota,),
            clock=clock,
            lapses=clock.now().fromtimestamp(lapses, clock.now().tzinfo),
            fails_open=False,
        )
        seen = account()
        refused = run(request.reserve(Need(bound * PICO, 0), spent=NOTHING, max_wait_s=0), clock)
        room = min(limit - seen.used.get(counter, 0) for counter, limit in quota.limits.items())
        assert (refused is None) == (bound == 0 or bound <= room)
        if refused is None and end != "killed":
            open_requests.append((request, bound * share // 100, month))
        if end == "at once" and open_requests:
            settle(*open_requests.pop())
        used = account().used
        assert all(0 <= used.get(counter, 0) <= limit for counter, limit in quota.limits.items())
    for row in open_requests:
        settle(*row)
    clock.advance(HOLD_S + 1)
    left, month = account(), clock.now().isoformat()[:7]
    assert left.holds == {}
    assert left.used.get(Counter.MONTH, 0) == settled_in_month.get(month, 0)
