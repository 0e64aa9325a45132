"""What `backup` and `restore` show while they work: a bar for each collection on a terminal, else a line for each."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sekha_llm_bridge.cli.health.printable import printable


class Step(Protocol):
    """How far a collection is."""

    @property
    def phase(self) -> str:
        """What is done with it, in one word."""
        ...

    @property
    def collection(self) -> str:
        """Its name."""
        ...

    @property
    def records(self) -> int:
        """How many are done."""
        ...

    @property
    def total(self) -> int:
        """Of how many."""
        ...

    @property
    def line_bytes(self) -> int:
        """Of those that are done."""
        ...


Show = Callable[[Step], None]


@contextmanager
def shown(*, as_json: bool) -> Iterator[Show]:
    """What to hand each step to. With `as_json` nothing is shown; progress goes to standard error, results do not."""
    console = Console(stderr=True, highlight=False)
    if as_json:
        yield lambda _: None
    elif sys.stderr.isatty() and not console.is_dumb_terminal:
        with _bars(console) as progress:
            yield _Bars(progress)
    else:
        yield _Lines()


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[phase]:9} {task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} records, {task.fields[size]}"),
        TimeRemainingColumn(),
        console=console,
    )


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, step: Step) -> None:
        key = (step.phase, step.collection)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(printable(step.collection), phase=step.phase, size="")
        self._progress.update(self._tasks[key], completed=step.records, total=step.total, size=decimal(step.line_bytes))


class _Lines:
    """One line when a collection is begun, and no more: a log is no place for a bar."""

    def __init__(self) -> None:
        self._begun: set[tuple[str, str]] = set()

    def __call__(self, step: Step) -> None:
        key = (step.phase, step.collection)
        if key not in self._begun:
            self._begun.add(key)
            sys.stderr.write(f"{step.phase} {printable(step.collection)}: {step.total:,} records\n")
