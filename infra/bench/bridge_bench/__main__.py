"""Runs one benchmark by its name. `BENCHMARKS` maps each name to a function that takes the remaining arguments."""

import sys
from collections.abc import Callable, Mapping, Sequence

from bridge_bench import (
    backup,
    breakers,
    budgets,
    error_answers,
    keys,
    memory,
    migration,
    outages,
    planning,
    requests,
    start,
    storing,
    streams,
)
from token_bench import comparison

BENCHMARKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "backup": backup.main,
    "breakers": breakers.main,
    "budgets": budgets.main,
    "errors": error_answers.main,
    "keys": keys.main,
    "memory": memory.main,
    "migration": migration.main,
    "outages": outages.main,
    "planning": planning.main,
    "requests": requests.main,
    "start": start.main,
    "storing": storing.main,
    "streams": streams.main,
    "tokens": comparison.main,
}


def main(arguments: Sequence[str]) -> None:
    """Runs the benchmark that the first argument names. Lists the benchmarks if there is none."""
    if not arguments or arguments[0] not in BENCHMARKS:
        rows = [f"  {name:10}{summary(benchmark)}" for name, benchmark in BENCHMARKS.items()]
        raise SystemExit("\n".join(["infra/bench/run BENCHMARK [--help]", "", *rows]))
    BENCHMARKS[arguments[0]](arguments[1:])


def summary(benchmark: Callable[[Sequence[str]], None]) -> str:
    """Returns the first line of the benchmark's docstring."""
    return (benchmark.__doc__ or "").strip().partition("\n")[0]


if __name__ == "__main__":
    main(sys.argv[1:])
