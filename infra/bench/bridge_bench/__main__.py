"""Which benchmark to run: a row for each, its name → its `main`, which takes the arguments that follow the name."""

import sys
from collections.abc import Callable, Mapping, Sequence

from bridge_bench import backup, breakers, migration, outages, planning, requests, storing, streams
from token_bench import comparison

BENCHMARKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "backup": backup.main,
    "breakers": breakers.main,
    "migration": migration.main,
    "outages": outages.main,
    "planning": planning.main,
    "requests": requests.main,
    "storing": storing.main,
    "streams": streams.main,
    "tokens": comparison.main,
}


def main(arguments: Sequence[str]) -> None:
    """Runs the benchmark that the first argument names; without one, lists them."""
    if not arguments or arguments[0] not in BENCHMARKS:
        rows = [f"  {name:10}{what_it_says(benchmark)}" for name, benchmark in BENCHMARKS.items()]
        raise SystemExit("\n".join(["infra/bench/run BENCHMARK [--help]", "", *rows]))
    BENCHMARKS[arguments[0]](arguments[1:])


def what_it_says(benchmark: Callable[[Sequence[str]], None]) -> str:
    """The first sentence of its docstring."""
    return (benchmark.__doc__ or "").strip().partition("\n")[0]


if __name__ == "__main__":
    main(sys.argv[1:])
