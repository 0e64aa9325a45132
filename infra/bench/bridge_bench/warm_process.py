"""A process of its own that measures warm calls: `python -m bridge_bench.warm_process`, told by stdin what to do.

In: a `Task` as JSON. Out: a line of JSON for each repeat, name → the nanoseconds of every call by the clock and of this
process alone; or, where a profile is asked for, its text.
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
from bridge_bench.measuring import Call, take_turns
from bridge_bench.profiling import profile
from bridge_bench.subjects import CLIENT, FLOOR, HANDLER, bare_call, clients_call, handlers_call

_WARM_UP_CALLS = 300


@dataclass(frozen=True, slots=True)
class Task:
    """What to measure: an endpoint, by the provider at a port, on a core; `sort` asks for a profile of the handler."""

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
    with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:  # the log is written, and read by nobody
        calls = _calls(task)
        _warm_up(calls.values())
        if task.sort is not None:
            out.write(profile(calls[HANDLER], task.rounds, task.sort))
            return
        for _ in range(task.repeats):
            taken = take_turns(calls, task.rounds)
            print(json.dumps({name: [list(kind) for kind in samples] for name, samples in taken.items()}), file=out)


def _calls(task: Task) -> dict[str, Call]:
    """What is compared. The handler is loaded first: it makes the event loop."""
    endpoint = ENDPOINTS[task.endpoint]
    handler = load_handler(endpoint.function)
    return {
        FLOOR: bare_call(endpoint, task.port),
        CLIENT: clients_call(endpoint, task.port),
        HANDLER: handlers_call(endpoint, handler),
    }


def _warm_up(calls: Iterable[Call]) -> None:
    for call in calls:
        for _ in range(_WARM_UP_CALLS):
            call()


if __name__ == "__main__":
    main()
