"""Starts the comparison in the project's own environment, which is made first if it is missing; see `tokens`."""

import os
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 — python3 may well be older, and would fail below with a riddle
    sys.exit("Python 3.11 or newer is needed as python3; this is {}.{}.".format(*sys.version_info[:2]))

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "infra" / "local"))

from environment import find_python, make  # noqa: E402 — its folder is put on the path above


def main() -> None:
    """Becomes the comparison."""
    python = make("bridge", find_python()) / "bin" / "python"
    folders = (ROOT / "infra" / "bench", ROOT / "layers" / "bridge")
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, folders)))
    os.execve(python, [str(python), "-m", "token_bench", *sys.argv[1:]], env)  # noqa: S606 — one process to signal


if __name__ == "__main__":
    main()
