"""Updates genai-prices in the lock and the price snapshot in the package. Prints the differences.

    infra/prices/refresh

It needs a package index. The snapshot's date is today. If only the date would change, the file is not written.
"""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from environment import LOCKS, ROOT, find_python, installer_environment, make, uv_for


def main() -> None:
    """Updates the lock, creates the environment, and makes the snapshot in it."""
    python = find_python()
    uv = os.environ.get("UV") or str(uv_for(python))
    run([LOCKS / "refresh", "--upgrade-package", "genai-prices"], {"UV": uv})
    bridge = make("bridge", python) / "bin" / "python"
    today = datetime.now(UTC).date().isoformat()
    run([bridge, "-m", "price_snapshot", today], {"PYTHONPATH": str(ROOT / "infra" / "prices")})


def run(command: list[str | Path], variables: dict[str, str]) -> None:
    """Runs `command` in the checkout with additional variables. Exits with its exit code when it fails."""
    done = subprocess.run(command, cwd=ROOT, env={**installer_environment(), **variables}, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    if len(sys.argv) != 1:
        raise SystemExit(__doc__)
    main()
