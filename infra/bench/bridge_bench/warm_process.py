"""Measures warm calls in a new process: `python -m bridge_bench.warm_process`.

Input: a `Task` as JSON. Output: a line of JSON for each repeat, which maps each call's name to its wall times and CPU
times in nanoseconds; or the text of a profile if the task asks for one.
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bridge_bench.cores import pin
from bridge_bench.endpoints import ENDPOINTS
from bridge_bench.lambda_function import load_handler
from bridge_bench.measured_calls import BASELINE, CLIENT, HANDLER, bare_call, handler_call, http_client_call
from bridge_bench.measuring import Call, measure_interleaved
from bridge_bench.profiling import profile

_WARM_UP_CALLS = 300


@dataclass(frozen=True, slots=True)
class Task:
    """What to measure. If `sort` is set, the handler is profiled instead, and the profile is sorted by it."""

    endpoint: str
    port: int
    core: int | None
    rounds: int
    repeats: int
    sort: str | None = None


def main() -> None:
    """See the module's docstring."""
    task = Task(**json.load(sys.stdin))
    pin(task.core)
    out = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:  # discards the log
        calls = _calls(task)
        _warm_up(calls.values())
        if task.sort is not None:
            out.write(profile(calls[HANDLER], task.rounds, task.sort))
            return
        for _ in range(task.repeats):
            taken = measure_interleaved(calls, task.rounds)
            print(json.dumps({name: [list(kind) for kind in samples] for name, samples in taken.items()}), file=out)


def _calls(task: Task) -> dict[str, Call]:
    """Returns the calls that are compared. The handler is loaded first because it creates the event loop."""
    endpoint = ENDPOINTS[task.endpoint]
    handler = load_handler(endpoint.function)
    return {
        BASELINE: bare_call(endpoint, task.port),
        CLIENT: http_client_call(endpoint, task.port),
        HANDLER: handler_call(endpoint, handler),
    }


def _warm_up(calls: Iterable[Call]) -> None:
    for call in calls:
        for _ in range(_WARM_UP_CALLS):
            call()


if __name__ == "__main__":
    main()
