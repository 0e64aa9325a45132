"""The progress display of `backup` and `restore`: one bar for each collection on a terminal, otherwise one line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.terminal import can_show_progress, make_console


class Step(Protocol):
    """The progress of one collection."""

    @property
    def phase(self) -> str:
        """The current operation, in one word."""
        ...

    @property
    def collection(self) -> str:
        """The name of the collection."""
        ...

    @property
    def records(self) -> int:
        """The number of records done."""
        ...

    @property
    def total(self) -> int:
        """The number of records of the collection."""
        ...

    @property
    def line_bytes(self) -> int:
        """The size of the records done, in bytes of JSON lines."""
        ...


Show = Callable[[Step], None]


@contextmanager
def progress_display(*, as_json: bool) -> Iterator[Show]:
    """Yields a function that displays a step. It writes to standard error; with `as_json` it writes nothing."""
    if as_json:
        yield lambda _: None
    elif can_show_progress(sys.stderr):
        with _bars(make_console(stderr=True)) as progress:
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
    """Writes one line when a collection starts: standard error is a pipe or a file here, where a bar is unreadable."""

    def __init__(self) -> None:
        self._started: set[tuple[str, str]] = set()

    def __call__(self, step: Step) -> None:
        key = (step.phase, step.collection)
        if key not in self._started:
            self._started.add(key)
            sys.stderr.write(f"{step.phase} {printable(step.collection)}: {step.total:,} records\n")
