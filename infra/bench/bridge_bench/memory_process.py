"""Measures one function in a new process: `python -m bridge_bench.memory_process NAME`.

Output: its peak memory in MB, and the processor's milliseconds of its init and of a call, as JSON. The peak is that of
the process, as Linux counts it (VmHWM), with Python itself; Lambda's own runtime adds some megabytes.
"""

import json
import os
import sys
import time
from pathlib import Path

from bridge_bench.lambda_function import LambdaContext, load_handler
from bridge_bench.memory_requests import REQUESTS

_CALLS = 3


def main(name: str) -> dict[str, float]:
    """Returns the measurements of one large request. Raises SystemExit if it fails."""
    request = REQUESTS[name]
    event = request.event() if request.body else None
    began_s = time.process_time()
    handler = load_handler(request.function)
    init_s = time.process_time() - began_s
    took_s = 0.0
    for _ in range(_CALLS if event else 0):
        began_s = time.process_time()
        answer = handler(event or {}, LambdaContext())
        took_s = time.process_time() - began_s
        if answer["statusCode"] != 200:
            raise SystemExit(f"{name}: {answer['statusCode']} {answer['body'][:500]}")
    return {"peak_mb": _peak_mb(), "init_cpu_ms": init_s * 1000, "call_cpu_ms": took_s * 1000}


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024


if __name__ == "__main__":
    out = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:  # discards the log
        found = main(sys.argv[1])
    out.write(json.dumps(found))
