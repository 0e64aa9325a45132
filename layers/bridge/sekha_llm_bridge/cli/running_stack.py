"""Finds the local stack that runs on this machine, so that a command needs no address.

`infra/local/up` writes a file into `.local/stacks` of its checkout and holds a lock on it while it runs. A file without
a lock is of a stack that was killed, and is ignored. The variable SEKHA_LOCAL_STACKS names another folder.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sekha_llm_bridge
from sekha_llm_bridge.cli.local_stack import find_script

FOLDER_VARIABLE = "SEKHA_LOCAL_STACKS"
_FOLDER = Path(".local") / "stacks"


class SeveralStacks(Exception):
    """Several stacks run, and none uses the default state folder. The message has their addresses."""


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that is ready. `chroma_url`: None if it stores nothing. `variables`: the environment variables with which
    a program uses the same configuration and servers as the stack's functions."""

    url: str
    chroma_url: str | None
    state: Path
    is_default: bool
    variables: Mapping[str, str]

    def __str__(self) -> str:
        return f"the local stack at {self.url} (state folder {self.state})"


def find_stack() -> RunningStack | None:
    """Returns the running stack that uses the default state folder, else the only one; None when none runs.

    Raises `SeveralStacks` when several run and none uses the default state folder.
    """
    stacks = [stack for folder in _folders() for stack in _stacks_in(folder)]
    default = next((stack for stack in stacks if stack.is_default), None)
    if default or len(stacks) < 2:
        return default or next(iter(stacks), None)
    raise SeveralStacks("several local stacks run: " + ", ".join(str(stack) for stack in stacks))


def _folders() -> list[Path]:
    """Returns the folders to look in: those of the checkouts around the working directory and around this package."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return [Path(chosen)]
    scripts = (find_script(Path.cwd() / "any"), find_script(Path(sekha_llm_bridge.__file__).resolve()))
    return list(dict.fromkeys(script.parents[2].resolve() / _FOLDER for script in scripts if script))


def _stacks_in(folder: Path) -> Iterator[RunningStack]:
    for path in sorted(folder.glob("*.json")):
        if stack := _read(path):
            yield stack


def _read(path: Path) -> RunningStack | None:
    """Returns the stack of the file; None when it has ended, or when the file is another user's or malformed."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid() or not _is_locked(file.fileno()):
                return None
            facts = json.load(file)
        return RunningStack(
            url=str(facts["url"]),
            chroma_url=facts["chroma_url"],
            state=Path(facts["state"]),
            is_default=facts["is_default_state"] is True,
            variables={str(name): str(value) for name, value in facts["variables"].items() if value},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _is_locked(descriptor: int) -> bool:
    """Whether another process holds the lock. A system without such locks cannot run the stack."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
