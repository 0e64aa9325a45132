"""Runs the checks, then the tests. Prints the time of each, and fails if one failed.

infra/local/test                 everything; tests/integration runs beside the other folders, one after the other
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
_INTEGRATION = "tests/integration"


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 when everything passed."""
    python = environment.find_python()
    for name in environment.ENVIRONMENTS:
        if name not in environment.ON_DEMAND:
            environment.make(name, python)
    failed = [name for name, command in CHECKS.items() if not _passes(name, command)]
    failed += [] if _passes_tests(arguments) else ["tests"]
    print("all checks and tests passed" if not failed else f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def _passes_tests(arguments: list[str]) -> bool:
    """Runs the folders of tests in two lanes, one for each core of a small machine."""
    if arguments:
        return _passes("tests", ["pytest", *arguments])
    folders = {f"tests/{test.relative_to(TESTS).parts[0]}" for test in TESTS.rglob("test_*.py")}
    return _lanes_pass([_INTEGRATION], sorted(folders - {_INTEGRATION}))


def _lanes_pass(*lanes: list[str]) -> bool:
    """Runs the lanes in parallel, and all folders of a lane one after the other. Prints the output of a folder at its
    end. Returns whether all passed.
    """

    def passes(lane: list[str]) -> bool:
        results = [_passes(folder, ["pytest", "-q", folder], is_live=False) for folder in lane]
        return all(results)

    with ThreadPoolExecutor() as pool:
        return all(list(pool.map(passes, lanes)))


def _passes(name: str, command: list[str], *, is_live: bool = True) -> bool:
    """Runs a command. Returns whether it succeeded. Its output is printed at once if `is_live`, else when it has
    ended."""
    started_s = time.monotonic()
    bin_folder = Path(sys.executable).parent
    title = f"── {name}: {' '.join(command)}"
    if is_live:
        print(title, flush=True)
    # The environment's tools are first on PATH, as in an activated environment.
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run(
        [bin_folder / command[0], *command[1:]],
        cwd=environment.ROOT,
        env=env,
        check=False,
        text=True,
        stdout=None if is_live else subprocess.PIPE,
        stderr=None if is_live else subprocess.STDOUT,
    )
    result = f"── {name}: {'ok' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - started_s:.1f} s\n"
    print(result if is_live else f"{title}\n{done.stdout}{result}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
