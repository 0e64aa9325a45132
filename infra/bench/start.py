"""Starts a benchmark in the project's own environment, which is made first if it is missing: see `infra/bench/run`."""

import os
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 — python3 may well be older, and would fail below with a riddle
    sys.exit("Python 3.11 or newer is needed as python3; this is {}.{}.".format(*sys.version_info[:2]))

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra" / "local"))

from environment import find_python, make  # noqa: E402 — its folder is put on the path above

FOLDERS = (ROOT / "infra" / "bench", ROOT / "layers" / "bridge", ROOT)


def main() -> None:
    """Becomes the benchmark."""
    python = make("bridge", find_python()) / "bin" / "python"
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, FOLDERS)))
    os.execve(python, [str(python), "-m", "bridge_bench", *sys.argv[1:]], env)  # noqa: S606 — one process to signal


if __name__ == "__main__":
    main()
