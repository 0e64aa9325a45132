"""Measures a cold start in a new process: `python -m bridge_bench.fresh_process WHAT FUNCTION ENDPOINT PORT [CORE]`.

No large module is imported before the measurement starts. Output: the nanoseconds of the import and of the first
request, as JSON. The libraries alone make no request.
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge_bench.cores import pin

if TYPE_CHECKING:  # see above
    from bridge_bench.lambda_function import Handler

BASELINE, LIBRARIES, HANDLER = "http.client", "libraries", "handler"
_MODULES = {
    BASELINE: ("http.client", "json"),
    LIBRARIES: ("aws_lambda_powertools", "fastapi", "httpx", "mangum", "orjson", "pydantic", "yaml"),
}


def main(what: str, function: str, endpoint: str, port: int) -> list[int]:
    """Returns the nanoseconds of the import, and of the first request if there is one."""
    started_ns = time.perf_counter_ns()
    handler = _import(what, function)
    import_ns = time.perf_counter_ns() - started_ns
    return [import_ns] if what == LIBRARIES else [import_ns, _first_request(endpoint, port, handler)]


def _import(what: str, function: str) -> "Handler | None":
    import importlib

    if what != HANDLER:
        for module in _MODULES[what]:
            importlib.import_module(module)
        return None
    from bridge_bench.lambda_function import load_handler

    return load_handler(function)


def _first_request(name: str, port: int, handler: "Handler | None") -> int:
    """Returns the nanoseconds of the first call to the handler, or to the provider if there is no handler."""
    from bridge_bench import measured_calls
    from bridge_bench.endpoints import ENDPOINTS

    endpoint = ENDPOINTS[name]
    call = measured_calls.handler_call(endpoint, handler) if handler else measured_calls.bare_call(endpoint, port)
    started_ns = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - started_ns


if __name__ == "__main__":
    pin(int(sys.argv[5]) if len(sys.argv) > 5 else None)
    out = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:  # discards the log
        print(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])), file=out)
