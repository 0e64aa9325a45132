"""`sekha-bridge up`: hands over to the checkout's `infra/local/up`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import sekha_llm_bridge

SCRIPT = Path("infra") / "local" / "up"


def start(arguments: Sequence[str]) -> NoReturn:
    """Becomes the local stack; exit code 2 when there is none to become."""
    script = find_script(Path(sekha_llm_bridge.__file__).resolve())
    if script is None:
        sys.stderr.write(
            "`up` starts the bridge from its source, and this installation has none:"
            f" clone the repository and run `{SCRIPT}` there\n"
        )
        raise SystemExit(2)
    sys.stdout.flush()
    os.execv(script, [str(script), *arguments])  # noqa: S606 — it becomes the stack: one process to signal


def find_script(start: Path) -> Path | None:
    """The checkout's script, found upwards of `start`."""
    return next((folder / SCRIPT for folder in start.parents if (folder / SCRIPT).is_file()), None)
