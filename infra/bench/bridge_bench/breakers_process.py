"""The race's child processes. Each runs a module, and exchanges lines of JSON with its parent.

The end of its standard input tells a child that its parent has ended, however it ended; the child then ends too.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TextIO


class ChildProcess:
    """A process that runs a module until the context ends."""

    def __init__(self, module: str, env: Mapping[str, str]) -> None:
        child_env = {**env, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_env, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.end()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def end(self) -> None:
        """Kills the process."""
        self._process.kill()

    def send(self, command: object) -> None:
        """Sends one line to the process."""
        assert self._process.stdin is not None  # noqa: S101 — a pipe, by the constructor
        print(json.dumps(command), file=self._process.stdin, flush=True)

    def receive(self) -> Any:
        """Returns the next line that the process writes. Raises SystemExit if it has ended."""
        assert self._process.stdout is not None  # noqa: S101 — a pipe, by the constructor
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._module} ended before it answered")
        return json.loads(line)

    def ask(self, command: object) -> Any:
        """Sends one line, and returns the process's answer."""
        self.send(command)
        return self.receive()


def commands() -> Iterator[Any]:
    """In a child: yields the commands from the parent until the parent has ended."""
    while line := sys.stdin.readline():
        yield json.loads(line)


def next_command() -> Any:
    """In a child: returns the next command. Raises SystemExit if the parent has ended."""
    for command in commands():
        return command
    raise SystemExit(1)


def send_to_parent(answer: object, out: TextIO | None = None) -> None:
    """In a child: writes one line to the parent."""
    print(json.dumps(answer), file=out, flush=True)


def exit_when_parent_exits() -> None:
    """In a child that reads no more commands: ends the process when the parent ends, even while it is busy."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
