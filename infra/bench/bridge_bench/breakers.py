"""A race for one circuit breaker: real processes with real bridges, over one table and a provider that fails.

Each process is one function instance: the chat function's handler, with requests one after the other. The first
provider answers, fails, and recovers; the second always answers. What is told of it is what the provider and the table
saw. While no scheduled check looks after the breaker, as here, users' requests probe.
"""

import argparse
import math
from collections.abc import Sequence

from bridge_bench.breakers_findings import SNAPSHOT_S, Findings, findings
from bridge_bench.breakers_race import RULES, Race, run

_WIDTHS = (58, 24, 10)


def main(arguments: Sequence[str]) -> None:
    """Many instances race for one circuit breaker, while its provider fails and recovers."""
    usual = Race()
    parser = argparse.ArgumentParser(
        prog="infra/bench/run breakers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=usual.processes, help="function instances (%(default)s)")
    parser.add_argument("--requests", type=int, default=usual.requests, help="of each of them (%(default)s)")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="that they take (%(default)s)")
    options = parser.parse_args(arguments)
    race = Race(options.processes, options.requests, options.seconds)
    found = findings(run(race))
    print(table(race, found))
    if found.gave_up:
        print("\nOn a machine this busy an instance has a breaker of its own for a while, by design: run it again.")
    if broken := found.broken():
        raise SystemExit("\n".join(["", "This must not be:", *broken]))


def table(race: Race, found: Findings) -> str:
    """The figures, and beside them what they must be."""
    opens = "opens after {failure_threshold} failures for {timeout_secs} s, closes after {success_threshold} successes"
    title = f"{race.processes} processes × {race.requests} requests in {race.seconds:g} s; {opens.format(**RULES)}"
    return "\n".join([title, "", _row("", "found", "must be"), *(_row(*row) for row in _rows(found))])


def _rows(found: Findings) -> list[tuple[str, str, str]]:
    per_request = found.healthy_reads / max(1, found.healthy_requests)
    closed = "never" if math.isinf(found.until_closed_s) else f"{found.until_closed_s:.2f} s"
    fates = f"{found.failures_counted} / {found.failures_late} / {found.failures_lost}"
    return [
        ("requests that nobody answered", f"{found.unanswered} of {found.requests}", "0"),
        ("the slowest request", f"{found.slowest_s * 1000:.0f} ms", ""),
        ("times that the breaker opened", str(found.openings), ""),
        (f"calls without a lease by snapshots of the last {SNAPSHOT_S:g} s", str(found.early_strays), ""),
        ("  the last of them, after it opened", f"{found.last_stray_s:.2f} s", ""),
        ("calls without a lease by older snapshots", str(found.late_strays), "0"),
        ("probes that failed / were answered", f"{found.probes_failed} / {found.probes_answered}", ""),
        ("most probes at the same time", str(found.probes_at_once), "1"),
        ("leases taken while somebody had one", str(found.leases_taken_over), "0"),
        ("failures counted / too late / lost", fates, "lost: 0"),
        ("reads for each healthy request", f"{per_request:.3f}", ""),
        ("the shortest time between two reads of one process", f"{found.between_reads_s:.2f} s", "1 s"),
        ("writes for all healthy requests", f"{found.healthy_writes} for {found.healthy_requests}", "0"),
        ("from the recovery until closed", closed, ""),
        ("probes in that time", str(found.probes_until_closed), ""),
        ("times that the table was too slow for an instance", str(found.gave_up), ""),
    ]


def _row(*cells: str) -> str:
    what, found, must = cells
    return f"{what:<{_WIDTHS[0]}}{found:>{_WIDTHS[1]}}{must:>{_WIDTHS[2]}}".rstrip()
