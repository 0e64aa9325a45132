"""Measures one cold start in this process, which is to be as new and as bare as Lambda's. It is run as a file.

    python3.13 -I -S start_process.py TASK

`TASK` is JSON: `paths` is the import path of the function, `own_loop` whether the bridge's runtime loop loads it,
`event` that of its requests, `status` that of its answers, `requests` how many to make (null: none), `core` the
processor core to run on (null: any). Output: one line of JSON, see `main`. Only what every Python has loaded is
imported before the measurement, so that a function's own imports are counted.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would be loaded before the measurement
    from typing import Any


class Context:
    """The parts of Lambda's context that the bridge uses."""

    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Returns API Gateway's timeout."""
        return 29_000


def main(task: "dict[str, Any]") -> "dict[str, float | int]":
    """Returns wall and CPU time of the init phase and CPU time of the first request in milliseconds, of a warm one in
    microseconds, the peak memory in MB, and the numbers of modules and of bytes of bytecode that were loaded.
    """
    sys.path[:0] = task["paths"]
    known, started_ns, cpu_ns = set(sys.modules), time.perf_counter_ns(), time.process_time_ns()
    if task["own_loop"]:
        from sekha_llm_bridge.lambda_runtime.handler import load

        handler = load("app.handler")
    else:
        import app  # type: ignore[import-not-found]  # the function's own, by the path above

        handler = app.handler
    init_ns, init_cpu_ns = time.perf_counter_ns() - started_ns, time.process_time_ns() - cpu_ns
    measured = {"init": init_ns / 1e6, "init_cpu": init_cpu_ns / 1e6, **_loaded(known)}
    if task["requests"] is None:
        return measured
    calls = [_cpu_ns(handler, task["event"], task["status"]) for _ in range(task["requests"])]
    measured |= {"first_cpu": calls[0] / 1e6, "modules_used": len(set(sys.modules) - known)}
    measured["warm_cpu"] = sorted(calls[1:])[len(calls[1:]) // 2] / 1e3 if len(calls) > 1 else 0
    measured["peak_mb"] = _peak_mb()
    return measured


def _cpu_ns(handler: "Any", event: "Any", status: int) -> int:
    started_ns = time.process_time_ns()
    answer = handler(event, Context())
    took_ns = time.process_time_ns() - started_ns
    if isinstance(answer, dict) and answer.get("statusCode", status) != status:
        raise SystemExit(f"the function answered {answer}")
    return took_ns


def _loaded(known: "set[str]") -> dict[str, int]:
    """Returns how many modules were loaded since `known`, and the size of their bytecode: neither depends on load."""
    specs = [getattr(module, "__spec__", None) for name, module in list(sys.modules.items()) if name not in known]
    files = {file for spec in specs if (file := getattr(spec, "cached", None)) and os.path.exists(file)}  # noqa: PTH110 — pathlib would be one more module
    return {"modules": len(specs), "bytecode": sum(os.stat(file).st_size for file in files)}  # noqa: PTH116 — as above


def _peak_mb() -> float:
    """Returns the peak of this process's memory; Linux only. `getrusage` would give that of the parent, if higher."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 — as above
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    import json  # which Lambda's runtime loads before the function, too

    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # discards the log
    given = json.loads(sys.argv[1])
    if given["core"] is not None:
        os.sched_setaffinity(0, {given["core"]})
    os.write(out, (json.dumps(main(given)) + "\n").encode())
