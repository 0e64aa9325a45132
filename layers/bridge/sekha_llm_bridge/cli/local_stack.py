"""`sekha-bridge up`: runs the checkout's `infra/local/up`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import sekha_llm_bridge

SCRIPT = Path("infra") / "local" / "up"


def start(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by the local stack. Exits with code 2 when no checkout is found."""
    script = find_script(Path(sekha_llm_bridge.__file__).resolve())
    if script is None:
        sys.stderr.write(
            "`up` starts the bridge from its source, which this installation does not have:"
            f" clone the repository and run `{SCRIPT}` there\n"
        )
        raise SystemExit(2)
    sys.stdout.flush()
    os.execv(script, [str(script), *arguments])  # noqa: S606 — the stack replaces this process, so that a signal reaches it


def find_script(start: Path) -> Path | None:
    """Returns the checkout's script from the nearest folder above `start`, or None."""
    return next((folder / SCRIPT for folder in start.parents if (folder / SCRIPT).is_file()), None)
