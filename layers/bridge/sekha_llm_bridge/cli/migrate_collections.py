"""`sekha-bridge migrate-collections`: renames or merges collections by dimension, and displays the progress."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column, Table
from rich.text import Text

from sekha_llm_bridge.bootstrap.vectors import default_space_of
from sekha_llm_bridge.cli.chroma_options import (
    ChromaOptions,
    InvalidOptions,
    chroma_server,
    problem_text,
    require_database,
)
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.terminal import can_show_progress, make_console
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.lease import DynamoLease, Lease, NoLease
from sekha_llm_bridge.embeddings.migration.moving import Migrated, Progress
from sekha_llm_bridge.embeddings.migration.plan import Failed
from sekha_llm_bridge.embeddings.migration.run import Event, MigrationReport, migrate_all, plan_only
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.embeddings.store import StoreFailed
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.routing import Catalog

_UNFINISHED, _UNUSABLE, _INTERRUPTED = 1, 2, 130
_TENTHS = 10
_STOP_LIMIT_S = 3.0
_TIMEOUT_S = 60.0  # for each request
_NO_DEFAULT = (
    "the configuration names no default embedding model, so the model of an unmarked collection is unknown: "
    "unmarked collections are renamed, but not merged into marked ones"
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command."""

    dry_run: bool
    keep: bool
    as_json: bool
    chroma: ChromaOptions
    table: str | None


def run(options: Options) -> int:
    """Migrates, or plans the migration only, and prints the outcome of each collection. Returns the exit code."""
    console, url = make_console(), ""
    try:
        server = chroma_server(options.chroma, timeout_s=_TIMEOUT_S)
        url = server.url
        report = _run(_report(options, server, console))
    except InvalidOptions as exc:
        return _unusable(str(exc))
    except StoreFailed as exc:
        return _unusable(problem_text(url, exc))
    if options.as_json:
        sys.stdout.write(json.dumps(report.as_json(), separators=(",", ":")) + "\n")
    else:
        _print(report, console)
    return 0 if report.is_success else _UNFINISHED


def _unusable(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return _UNUSABLE


def _run(work: Coroutine[None, None, MigrationReport]) -> MigrationReport:
    """Returns the result of the coroutine. Ctrl-C cancels it and ends the process, whose threads may still wait for
    Chroma."""
    runner = asyncio.Runner()
    try:
        return runner.run(_stopped_in_time(work))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: no record is lost; run the same command again to finish\n")
        sys.stderr.flush()
        os._exit(_INTERRUPTED)
    finally:
        runner.close()


async def _stopped_in_time(work: Coroutine[None, None, MigrationReport]) -> MigrationReport:
    """Returns the result of the coroutine. When cancelled, gives it 3 s to finish its page and to release the lease.

    After that, the lease ends by itself. A server that does not answer would delay the end by minutes.
    """
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait([running], timeout=_STOP_LIMIT_S)
        raise


async def _report(options: Options, server: ChromaServer, console: Console) -> MigrationReport:
    await asyncio.to_thread(require_database, server, options.chroma)
    default = _default_space(options)
    sys.stderr.write(f"{_assumption_text(default)}\n")
    if options.dry_run:
        return await plan_only(server, default, keep=options.keep)
    connections = Connections(SystemClock())
    try:
        lease = _lease(options.table or os.environ.get("STATE_TABLE"), connections)
        with _progress_display(console, is_quiet=options.as_json) as display:
            return await migrate_all(server, default, lease, keep=options.keep, on_event=display)
    finally:
        await connections.aclose()


def _default_space(options: Options) -> EmbeddingSpace | None:
    """Returns the space of the default embedding model; None when the configuration is invalid or names none.

    A provider counts here although its key is not set in this shell: its model is not called.
    """
    try:
        settings = load_settings(options.chroma.config_path)
    except ConfigError:
        return None
    disabled = tuple(provider.config for provider in settings.disabled)
    everything = replace(settings, providers=(*settings.providers, *disabled), disabled=())
    return default_space_of(Catalog.of(everything, PriceBook()))


def _assumption_text(default: EmbeddingSpace | None) -> str:
    """Returns which model unmarked collections are assumed to be of."""
    if default is None:
        return _NO_DEFAULT
    return f"unmarked collections of {default.dimension} dimensions are assumed to hold vectors of {default.name}"


def _lease(table: str | None, connections: Connections) -> Lease:
    if not table:
        return NoLease()
    if not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        raise InvalidOptions(f"--table {table} (or STATE_TABLE): set AWS_REGION to the table's region as well")
    return DynamoLease(table, connections, SystemClock())


@contextmanager
def _progress_display(console: Console, *, is_quiet: bool) -> Iterator[Callable[[Event], None]]:
    """Yields a function that displays an event: as bars on a terminal, otherwise as lines."""
    if is_quiet:
        yield lambda _event: None
    elif can_show_progress(sys.stdout):
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(table_column=Column(no_wrap=True)),
        )
        with Bars(*columns, TimeElapsedColumn(), console=console) as bars:
            yield BarsOnTerminal(bars)
    else:
        yield _Lines()


class Rate(ProgressColumn):
    """Records per second."""

    def render(self, task: Task) -> Text:
        """Renders the rate of the last seconds, or the average when the collection is done."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} records/s")


class BarsOnTerminal:
    """Displays one bar for each collection that is being moved."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Updates the bar of the event's collection."""
        if isinstance(event, Progress):
            if event.collection not in self._tasks:
                described = printable(f"{event.collection} → {event.target}")
                self._tasks[event.collection] = self._bars.add_task(described, total=event.total)
            self._bars.update(self._tasks[event.collection], completed=event.done, total=event.total)
        elif isinstance(event, Migrated) and event.collection in self._tasks:
            self._bars.update(self._tasks[event.collection], completed=event.records, total=event.records)


class _Lines:
    """Prints a line for each tenth of a collection, and one for its outcome."""

    def __init__(self) -> None:
        self._printed: tuple[str, int] | None = None

    def __call__(self, event: Event) -> None:
        """Prints the event, unless it is in the tenth that was printed last."""
        if isinstance(event, Progress):
            tenth = event.done * _TENTHS // max(1, event.total)
            if self._printed != (event.collection, tenth):
                self._printed = (event.collection, tenth)
                _print_line(f"{event.collection} → {event.target}: {event.done} of {event.total} records")
        elif isinstance(event, Migrated):
            _print_line(f"{event.collection} → {event.target}: {_how_text(event)}")
        elif isinstance(event, Failed):
            _print_line(f"{event.collection}: failed: {event.reason}")


def _print_line(line: str) -> None:
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()  # a pipe is block-buffered; its reader needs the line at once


def _print(report: MigrationReport, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("collection", "now in" if not report.dry_run else "would be in", "how", "records"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "records" else "left")
    for cells in _rows(report):
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table if table.row_count else "there is no collection")
    if report.note:
        console.print(Text(printable(report.note), style="yellow" if not report.finished else ""))


def _rows(report: MigrationReport) -> Iterator[tuple[str, str, str, str]]:
    for step in report.planned:
        yield step.collection, step.target, step.how, f"{step.records:,}"
    for moved in report.migrated:
        yield moved.collection, moved.target, _how_text(moved), f"{moved.records:,}"
    for alone in report.left_alone:
        yield alone.collection, alone.collection, f"not changed: {alone.reason}", ""
    for failed in report.failed:
        yield failed.collection, failed.collection, f"failed: {failed.reason}", ""


def _how_text(moved: Migrated) -> str:
    """Returns what was done, in a few words."""
    done = "renamed" if moved.how == "rename" else f"merged, {moved.copied:,} copied"
    return f"{done}; the old one is kept" if moved.kept else done
