"""A process of its own that measures a cold start: `python -m bridge_bench.fresh_process WHAT FUNCTION PORT [CORE]`.

Nothing of weight is imported before the clock starts. Out: the nanoseconds of the import and of the first request (the
libraries alone make none), as JSON.
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge_bench.cores import pin

if TYPE_CHECKING:  # see above
    from bridge_bench.lambda_function import Handler

FLOOR, LIBRARIES, HANDLER = "http.client", "libraries", "handler"
_MODULES = {
    FLOOR: ("http.client", "json"),
    LIBRARIES: ("aws_lambda_powertools", "fastapi", "httpx", "mangum", "orjson", "pydantic", "yaml"),
}


def main(what: str, function: str, port: int) -> list[int]:
    """The nanoseconds of the import, and of the first request where there is one."""
    started_ns = time.perf_counter_ns()
    handler = _import(what, function)
    import_ns = time.perf_counter_ns() - started_ns
    return [import_ns] if what == LIBRARIES else [import_ns, _first_request(function, port, handler)]


def _import(what: str, function: str) -> "Handler | None":
    import importlib

    if what != HANDLER:
        for module in _MODULES[what]:
            importlib.import_module(module)
        return None
    from bridge_bench.lambda_function import load_handler

    return load_handler(function)


def _first_request(function: str, port: int, handler: "Handler | None") -> int:
    """The nanoseconds of the first call: of the handler, or of the provider itself."""
    from bridge_bench import subjects
    from bridge_bench.endpoints import ENDPOINTS

    endpoint = ENDPOINTS[function]
    call = subjects.handlers_call(endpoint, handler) if handler else subjects.bare_call(endpoint, port)
    started_ns = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - started_ns


if __name__ == "__main__":
    pin(int(sys.argv[4]) if len(sys.argv) > 4 else None)
    out = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:  # the log is written, and read by nobody
        print(main(sys.argv[1], sys.argv[2], int(sys.argv[3])), file=out)
