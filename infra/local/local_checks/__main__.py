"""Runs the checks, then the tests; says how long each took, and fails if any failed.

infra/local/test                 everything: tests that wait for a server most of the time beside those that compute
infra/local/test ARGS            the checks, then pytest with those arguments (a folder, -k NAME, -x, …)
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environment

CHECKS = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "imports": ["lint-imports", "--no-logo"],
}
TESTS = environment.ROOT / "tests"
_WAITING, _STACKS = "tests/contract", "tests/integration"


def main(arguments: list[str]) -> int:
    """The exit code: 0 when everything holds."""
    python = environment.find_python()
    for name in environment.ENVIRONMENTS:
        environment.make(name, python)
    failed = [name for name, command in CHECKS.items() if not _passes(name, command)]
    failed += [] if _passes_tests(arguments) else ["tests"]
    print("all checks and tests passed" if not failed else f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def _passes_tests(arguments: list[str]) -> bool:
    """Whole stacks want the machine for themselves, so the tests that start them come last."""
    if arguments:
        return _passes("tests", ["pytest", *arguments])
    folders = {f"tests/{test.relative_to(TESTS).parts[0]}" for test in TESTS.rglob("test_*.py")}
    computing = sorted(folders - {_WAITING, _STACKS})
    return _pass([_WAITING], computing) & _pass([_STACKS])


def _pass(*groups: list[str]) -> bool:
    """Whether each group of folders passes; they run at the same time, and several are shown one after the other."""

    def passes(group: list[str]) -> bool:
        return _passes(" ".join(group), ["pytest", "-q", *group], shown=len(groups) == 1)

    with ThreadPoolExecutor() as pool:
        return all(list(pool.map(passes, groups)))


def _passes(name: str, command: list[str], *, shown: bool = True) -> bool:
    """Whether a command succeeds. What it prints is `shown` at once, or else when it has ended."""
    started_s = time.monotonic()
    bin_folder = Path(sys.executable).parent
    title = f"── {name}: {' '.join(command)}"
    if shown:
        print(title, flush=True)
    # The project's own tools first on PATH, as in an activated environment.
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run(
        [bin_folder / command[0], *command[1:]],
        cwd=environment.ROOT,
        env=env,
        check=False,
        text=True,
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
    )
    took = f"── {name}: {'ok' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - started_s:.1f} s\n"
    print(took if shown else f"{title}\n{done.stdout}{took}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
