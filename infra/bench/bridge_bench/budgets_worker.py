"""A child process that sends requests against a key's budget and the bridge's.

Input: the name of the table, the number of requests, a seed, the two budgets in USD. Output: what became of them.
"""

import asyncio
import random
import sys
from datetime import timedelta
from decimal import Decimal

from bridge_bench.breakers_process import next_command, send_to_parent
from sekha_llm_bridge.access.quotas import PICO_USD, Counter, Quota, Quotas
from sekha_llm_bridge.access.quotas.dynamodb import DynamoQuotaStore
from sekha_llm_bridge.access.spending import BRIDGE, Need, RequestSpending
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.connections import Connections

KEYS = 4
BOUND_USD, COST_USD = Decimal("0.05"), Decimal("0.02")
_AT_ONCE = 4
_CALL_S = 0.01  # the longest call of a provider
_LASTS_S, _MAX_WAIT_S = 600, 300
_NOTHING = Need(Decimal(0), 0)


def daily(owner: str, budget_usd: Decimal) -> Quota:
    """Returns a daily budget."""
    return Quota(owner, {Counter.DAY: int(budget_usd * PICO_USD)})


async def race(table: str, n_requests: int, seed: int, key_usd: Decimal, bridge_usd: Decimal) -> dict[str, object]:
    """Returns the keys of the allowed requests, and what the refused ones were told."""
    clock = SystemClock()
    connections = Connections(clock)
    quotas = Quotas(DynamoQuotaStore(table, connections, clock), clock)
    chance = random.Random(seed)  # noqa: S311 — the same requests in every run
    allowed: list[str] = []
    refused: list[dict[str, object]] = []
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(key: str) -> None:
        async with places:
            lapses = clock.now() + timedelta(seconds=_LASTS_S)
            owned = (daily(key, key_usd), daily(BRIDGE, bridge_usd))
            request = RequestSpending(quotas, owned, clock=clock, lapses=lapses, fails_open=False)
            shortage = await request.reserve(Need(BOUND_USD, 0), spent=_NOTHING, max_wait_s=_MAX_WAIT_S)
            if shortage is None:
                await clock.sleep(chance.random() * _CALL_S)
                allowed.append(key)
            else:
                refused.append({**shortage.public(), "is_temporary": shortage.is_temporary})
            await request.settle(_NOTHING if shortage else Need(COST_USD, 0))

    await asyncio.gather(*(one(f"key_{chance.randrange(KEYS)}") for _ in range(n_requests)))
    await connections.aclose()
    return {"allowed": allowed, "refused": refused}


def main() -> None:
    """See the module's docstring."""
    answers, sys.stdout = sys.stdout, sys.stderr  # metrics are written to standard output
    table, n_requests, seed, key_usd, bridge_usd = next_command()
    send_to_parent(asyncio.run(race(table, n_requests, seed, Decimal(key_usd), Decimal(bridge_usd))), answers)


if __name__ == "__main__":
    main()
