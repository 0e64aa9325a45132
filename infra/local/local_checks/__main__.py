"""Runs the checks, then the tests; says how long each took, and fails if any failed.

infra/local/test                 everything
infra/local/test ARGS            the checks, then pytest with those arguments (a folder, -k NAME, -x, …)
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import environment

CHECKS = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "imports": ["lint-imports", "--no-logo"],
}


def main(arguments: list[str]) -> int:
    """The exit code: 0 when everything holds."""
    python = environment.find_python()
    for name in environment.ENVIRONMENTS:
        environment.make(name, python)
    failed = [name for name, command in CHECKS.items() if not _passes(name, command)]
    if not _passes("tests", ["pytest", *(arguments or ["-q"])]):
        failed.append("tests")
    print("all checks and tests passed" if not failed else f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def _passes(name: str, command: list[str]) -> bool:
    print(f"── {name}: {' '.join(command)}", flush=True)
    started_s = time.monotonic()
    bin_folder = Path(sys.executable).parent
    # The project's own tools first on PATH, as in an activated environment.
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run([bin_folder / command[0], *command[1:]], cwd=environment.ROOT, env=env, check=False)
    print(
        f"── {name}: {'ok' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - started_s:.1f} s\n", flush=True
    )
    return done.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
