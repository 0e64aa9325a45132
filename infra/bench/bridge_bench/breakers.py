"""A race for one circuit breaker: real processes with real bridges share one table and a provider that fails.

Each process is one function instance. It calls the chat function's handler, one request after the other. The first
provider answers, then fails, then recovers; the second always answers. The findings come from what the provider and the
table recorded. There is no scheduled health check here, so users' requests probe the provider.
"""

import argparse
import math
from collections.abc import Sequence

from bridge_bench.breakers_findings import SNAPSHOT_S, Findings, findings
from bridge_bench.breakers_race import RULES, Race, run

_WIDTHS = (58, 24, 10)


def main(arguments: Sequence[str]) -> None:
    """How many function instances share one circuit breaker while its provider fails and recovers."""
    defaults = Race()
    parser = argparse.ArgumentParser(
        prog="infra/bench/run breakers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=defaults.processes, help="function instances (%(default)s)")
    parser.add_argument(
        "--requests", type=int, default=defaults.requests, help="requests of each instance (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="duration of the race (%(default)s)")
    options = parser.parse_args(arguments)
    race = Race(options.processes, options.requests, options.seconds)
    found = findings(run(race))
    print(table(race, found))
    if found.table_unavailable_count:
        print("\nThe machine was too busy: an instance used only its own breaker for a while. Run this again.")
    if violations := found.violations():
        raise SystemExit("\n".join(["", "Broken rules:", *violations]))


def table(race: Race, found: Findings) -> str:
    """Returns the figures as a table, each with its required value if it has one."""
    opens = "opens after {failure_threshold} failures for {timeout_secs} s, closes after {success_threshold} successes"
    title = f"{race.processes} processes × {race.requests} requests in {race.seconds:g} s; {opens.format(**RULES)}"
    return "\n".join([title, "", _row("", "found", "must be"), *(_row(*row) for row in _rows(found))])


def _rows(found: Findings) -> list[tuple[str, str, str]]:
    per_request = found.healthy_reads / max(1, found.healthy_requests)
    closed = "never" if math.isinf(found.time_to_close_s) else f"{found.time_to_close_s:.2f} s"
    outcomes = f"{found.failures_counted} / {found.failures_late} / {found.failures_lost}"
    return [
        ("requests without an answer", f"{found.unanswered} of {found.requests}", "0"),
        ("the slowest request", f"{found.slowest_s * 1000:.0f} ms", ""),
        ("times the breaker opened", str(found.openings), ""),
        (f"calls without a lease, snapshot at most {SNAPSHOT_S:g} s old", str(found.early_unleased_calls), ""),
        ("  the last of them, time after the breaker opened", f"{found.last_unleased_call_s:.2f} s", ""),
        ("calls without a lease, snapshot older", str(found.late_unleased_calls), "0"),
        ("probes that failed / were answered", f"{found.probes_failed} / {found.probes_answered}", ""),
        ("most probes at the same time", str(found.max_concurrent_probes), "1"),
        ("leases taken while another lease was held", str(found.leases_taken_over), "0"),
        ("failures counted / reported too late / lost", outcomes, "lost: 0"),
        ("table reads per healthy request", f"{per_request:.3f}", ""),
        ("the shortest time between two reads of one process", f"{found.min_read_interval_s:.2f} s", "1 s"),
        ("table writes for all healthy requests", f"{found.healthy_writes} for {found.healthy_requests}", "0"),
        ("time from the recovery until the breaker closed", closed, ""),
        ("probes in that time", str(found.probes_until_closed), ""),
        ("times the table was too slow for an instance", str(found.table_unavailable_count), ""),
    ]


def _row(*cells: str) -> str:
    what, found, must = cells
    return f"{what:<{_WIDTHS[0]}}{found:>{_WIDTHS[1]}}{must:>{_WIDTHS[2]}}".rstrip()
