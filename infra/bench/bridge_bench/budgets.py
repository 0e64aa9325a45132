"""A race for budgets: real processes reserve and settle costs in one table, until the budgets run out in the middle.

Four keys have a daily budget each, and the bridge has one for all of them. A request reserves 0.05 USD and costs 0.02.
"""

import argparse
import asyncio
import os
from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal

from bridge_bench.breakers_process import ChildProcess
from bridge_bench.budgets_worker import BOUND_USD, COST_USD, KEYS, daily
from sekha_llm_bridge.access.quotas import PICO_USD, Account, Counter, Quotas
from sekha_llm_bridge.access.quotas.dynamodb import DynamoQuotaStore
from sekha_llm_bridge.access.spending import BRIDGE
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.connections import Connections
from tests.fakes.dynamodb import REGION, DynamoDb

_SHARE_OF_KEYS = Decimal("0.9")  # of what the keys' requests would cost
_SHARE_OF_BRIDGE = Decimal("0.6")  # of what all requests would cost
_REMOVED_VARIABLES = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN")


@dataclass(frozen=True, slots=True)
class BudgetRace:
    """The size of a race."""

    processes: int = 8
    requests: int = 200

    @property
    def bridge_usd(self) -> Decimal:
        """The budget of the bridge: it runs out after some 60 % of the requests."""
        return self.processes * self.requests * COST_USD * _SHARE_OF_BRIDGE

    @property
    def key_usd(self) -> Decimal:
        """The budget of each key."""
        return self.processes * self.requests * COST_USD * _SHARE_OF_KEYS / KEYS


@dataclass(frozen=True, slots=True)
class BudgetFindings:
    """What a race showed. Amounts are in USD. `overspent_usd` is above the budgets; `unsettled_usd` is the difference
    between what the accounts have and what the requests cost; `too_early` are refusals that a serial run would not
    give.
    """

    allowed: int
    refused: int
    overspent_usd: Decimal
    unsettled_usd: Decimal
    left_reserved: int
    too_early: int
    reads: int
    writes: int

    def violations(self) -> list[str]:
        """Returns the rules that the race broke."""
        must_be_zero = {
            "overspent": self.overspent_usd,
            "counted wrongly": self.unsettled_usd,
            "still reserved": self.left_reserved,
            "refused although there was room": self.too_early,
        }
        return [f"{what}: {found}" for what, found in must_be_zero.items() if found]


def main(arguments: Sequence[str]) -> None:
    """How many processes spend a shared budget to its end, and what that costs in reads and writes."""
    parser = argparse.ArgumentParser(
        prog="infra/bench/run budgets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = BudgetRace()
    parser.add_argument("--processes", type=int, default=defaults.processes, help="processes (%(default)s)")
    parser.add_argument("--requests", type=int, default=defaults.requests, help="requests of each (%(default)s)")
    options = parser.parse_args(arguments)
    found = run(BudgetRace(options.processes, options.requests))
    total = found.allowed + found.refused
    print(f"{options.processes} processes x {options.requests} requests, two budgets for each request")
    print(f"  allowed {found.allowed}, refused {found.refused}")
    print(f"  overspent {found.overspent_usd} USD (must be 0), counted wrongly {found.unsettled_usd} USD (must be 0)")
    print(f"  reservations left {found.left_reserved} (must be 0), refused too early {found.too_early} (must be 0)")
    print(f"  writes per request {found.writes / total:.2f}, reads per request {found.reads / total:.2f}")
    if violations := found.violations():
        raise SystemExit("\n".join(["", "Broken rules:", *violations]))


def run(race: BudgetRace) -> BudgetFindings:
    """Runs a race. Raises SystemExit if a process fails."""
    with DynamoDb() as server, ExitStack() as children:
        table = server.new_table()
        env = {name: value for name, value in os.environ.items() if name not in _REMOVED_VARIABLES}
        env |= {"AWS_REGION": REGION, "AWS_ENDPOINT_URL_DYNAMODB": server.url}
        workers = [
            children.enter_context(ChildProcess("bridge_bench.budgets_worker", env)) for _ in range(race.processes)
        ]
        for seed, worker in enumerate(workers):
            worker.send([table, race.requests, seed, str(race.key_usd), str(race.bridge_usd)])
        results = [worker.receive() for worker in workers]
        actions = Tally(request.action for request in server.requests)
        allowed = Tally(key for result in results for key in result["allowed"])
        accounts = _accounts(table, server.url, [BRIDGE, *allowed])
    refused = [one for result in results for one in result["refused"]]
    limits = {BRIDGE: race.bridge_usd, **dict.fromkeys(allowed, race.key_usd)}
    cost = {BRIDGE: allowed.total() * COST_USD, **{key: n * COST_USD for key, n in allowed.items()}}
    used = {owner: Decimal(account.used.get(Counter.DAY, 0)) / PICO_USD for owner, account in accounts.items()}
    return BudgetFindings(
        allowed=allowed.total(),
        refused=len(refused),
        overspent_usd=sum((max(Decimal(0), cost[owner] - limits[owner]) for owner in limits), Decimal(0)),
        unsettled_usd=sum((abs(used[owner] - cost[owner]) for owner in limits), Decimal(0)),
        left_reserved=sum(len(account.holds) for account in accounts.values()),
        # In the end each budget that refused has less left than one request needs, also in a serial run.
        too_early=sum(one["is_temporary"] or limits[one["of"]] - cost[one["of"]] >= BOUND_USD for one in refused),
        reads=actions["BatchGetItem"],
        writes=actions["UpdateItem"],
    )


def _accounts(table: str, url: str, owners: Sequence[str]) -> dict[str, Account]:
    os.environ |= {"AWS_REGION": REGION, "AWS_ENDPOINT_URL_DYNAMODB": url}

    async def read() -> dict[str, Account]:
        clock = SystemClock()
        connections = Connections(clock)
        quotas = Quotas(DynamoQuotaStore(table, connections, clock), clock)
        accounts = {owner: await quotas.read(daily(owner, Decimal(1))) for owner in owners}
        await connections.aclose()
        return accounts

    return asyncio.run(read())
