"""Tells `sekha-bridge` about a running stack: one JSON file in `.local/stacks`, from ready to end.

The stack holds a lock on the file as long as it runs, which the kernel releases however it ends: a file without a lock
is stale. `sekha_llm_bridge.cli.running_stack` reads the files; the environment variable below moves the folder.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import environment

FOLDER_VARIABLE = "SEKHA_LOCAL_STACKS"


def stacks_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Returns the folder of the files of this checkout's stacks."""
    return Path(environ.get(FOLDER_VARIABLE) or environment.HOME / "stacks")


class StackFile:
    """The file of one stack."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}.json"
        self._file: IO[str] | None = None

    def write(self, *, url: str, chroma_url: str | None, state: Path, variables: Mapping[str, str]) -> None:
        """Writes the file, and removes those of stacks that were killed.

        `variables`: what a program needs in its environment to use the same configuration and servers as the functions.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(self._path.parent)
        facts = {
            "pid": os.getpid(),
            "url": url,
            "chroma_url": chroma_url,
            "state": str(state),
            "is_default_state": state == (environment.HOME / "state").resolve(),
            "variables": dict(variables),
        }
        written = self._path.with_suffix(".tmp")
        self._file = written.open("w", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        json.dump(facts, self._file, indent=2)
        self._file.flush()
        written.replace(self._path)  # readers see the whole file, with its lock

    def remove(self) -> None:
        """Removes the file, if it was written."""
        if self._file:
            self._path.unlink(missing_ok=True)
            self._file.close()


def _remove_stale(folder: Path) -> None:
    for path in (*folder.glob("*.json"), *folder.glob("*.tmp")):
        with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
