"""The race's processes: each runs a module, is told and asked by lines of JSON, and ends with whoever started it.

A process knows that its starter has gone, in whatever way, by the end of its standard input.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TextIO


class Companion:
    """A process, while its context lasts."""

    def __init__(self, module: str, env: Mapping[str, str]) -> None:
        found = {**env, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=found, text=True
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
        """At once."""
        self._process.kill()

    def tell(self, order: object) -> None:
        """Sends one line."""
        assert self._process.stdin is not None  # noqa: S101 — it was asked for above
        print(json.dumps(order), file=self._process.stdin, flush=True)

    def hear(self) -> Any:
        """The next line of what it says. Raises SystemExit when it has ended."""
        assert self._process.stdout is not None  # noqa: S101 — it was asked for above
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._module} ended before it had answered")
        return json.loads(line)

    def ask(self, order: object) -> Any:
        """Sends one line, and returns what it says to it."""
        self.tell(order)
        return self.hear()


def orders() -> Iterator[Any]:
    """In a companion: what it is told, one after the other, as long as there is somebody to tell it."""
    while line := sys.stdin.readline():
        yield json.loads(line)


def order() -> Any:
    """In a companion: what it is told next. Raises SystemExit when its starter has gone."""
    for told in orders():
        return told
    raise SystemExit(1)


def say(answer: object, out: TextIO | None = None) -> None:
    """In a companion: one line to whoever started it."""
    print(json.dumps(answer), file=out, flush=True)


def end_with_starter() -> None:
    """In a companion that is told no more, and has its hands full: ends the process when its starter has gone."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
