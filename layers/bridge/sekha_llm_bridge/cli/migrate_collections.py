"""`sekha-bridge migrate-collections`: collections get the names that they should have, while somebody watches."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.cli.chroma_options import WrongOptions, chroma_config
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.lease import DynamoLease, Lease, NoLease
from sekha_llm_bridge.embeddings.migration.moving import Migrated, Progress
from sekha_llm_bridge.embeddings.migration.plan import Failed
from sekha_llm_bridge.embeddings.migration.run import Event, MigrationReport, migrate_all, plan_only
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.embeddings.store import StoreFailed
from sekha_llm_bridge.errors import ConfigError

_UNFINISHED, _UNUSABLE, _INTERRUPTED = 1, 2, 130
_TENTHS = 10
_PATIENT_S, _TRIES = 60.0, 4
_NO_DEFAULT = (
    "the configuration names no embedding model, so of collections without a mark nobody knows the space: "
    "they are renamed, but not merged into others that have one"
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    dry_run: bool
    keep: bool
    as_json: bool
    config_path: Path | None
    chroma_url: str | None
    chroma_token: str | None
    table: str | None


def run(options: Options) -> int:
    """Migrates, or says what would be done, and prints what became of it. Returns the exit code."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        config = chroma_config(options.config_path, options.chroma_url, options.chroma_token)
        report = asyncio.run(_report(options, config, console))
    except (WrongOptions, StoreFailed) as exc:
        sys.stderr.write(f"{exc}\n")
        return _UNUSABLE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing is lost, run it again and it goes on from there\n")
        return _INTERRUPTED
    if options.as_json:
        sys.stdout.write(json.dumps(report.as_json(), separators=(",", ":")) + "\n")
    else:
        _print(report, console)
    return 0 if report.is_success else _UNFINISHED


async def _report(options: Options, config: ChromaConfig, console: Console) -> MigrationReport:
    server, default = ChromaServer(config, timeout_s=_PATIENT_S, max_attempts=_TRIES), _default_space(options, config)
    sys.stderr.write(f"{_assumed(default)}\n")
    if options.dry_run:
        return await plan_only(server, default, keep=options.keep)
    connections = Connections(SystemClock())
    try:
        lease = _lease(options.table, connections)
        with _watching(console, is_quiet=options.as_json) as watch:
            return await migrate_all(server, default, lease, keep=options.keep, on_event=watch)
    finally:
        await connections.aclose()


def _default_space(options: Options, config: ChromaConfig) -> EmbeddingSpace | None:
    """That of the default embedding model of the configuration; None where that cannot be used and is not needed."""
    try:
        settings = load_settings(options.config_path)
    except ConfigError:
        return None
    return make_bridge(replace(settings, chroma=config)).vectors().default_space


def _assumed(default: EmbeddingSpace | None) -> str:
    """What is taken to be in collections that do not say it themselves."""
    if default is None:
        return _NO_DEFAULT
    return f"unmarked collections of {default.dimension} dimensions are taken to hold vectors of {default.name}"


def _lease(table: str | None, connections: Connections) -> Lease:
    if not table:
        return NoLease()
    if not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        raise WrongOptions(f"--table {table} (or STATE_TABLE): set AWS_REGION to the table's region as well")
    return DynamoLease(table, connections, SystemClock())


@contextmanager
def _watching(console: Console, *, is_quiet: bool) -> Iterator[Callable[[Event], None]]:
    """Bars on a terminal, lines elsewhere."""
    if is_quiet:
        yield lambda _event: None
    # The stream is asked because FORCE_COLOR makes rich take a pipe for a terminal.
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Rate())
        with Bars(*columns, TimeElapsedColumn(), console=console) as bars:
            yield BarsOnTerminal(bars)
    else:
        yield _Lines()


class Rate(ProgressColumn):
    """Records per second."""

    def render(self, task: Task) -> Text:
        """Of the last seconds; of the whole, once it is done."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} records/s")


class BarsOnTerminal:
    """One bar for each collection that is being moved."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Shows it."""
        if isinstance(event, Progress):
            if event.collection not in self._tasks:
                described = printable(f"{event.collection} → {event.target}")
                self._tasks[event.collection] = self._bars.add_task(described, total=event.total)
            self._bars.update(self._tasks[event.collection], completed=event.done, total=event.total)
        elif isinstance(event, Migrated) and event.collection in self._tasks:
            self._bars.update(self._tasks[event.collection], completed=event.records, total=event.records)


class _Lines:
    """A line for each tenth of a collection, and for what became of it."""

    def __init__(self) -> None:
        self._said: tuple[str, int] | None = None

    def __call__(self, event: Event) -> None:
        """Prints it, if it is news."""
        if isinstance(event, Progress):
            tenth = event.done * _TENTHS // max(1, event.total)
            if self._said != (event.collection, tenth):
                self._said = (event.collection, tenth)
                _say(f"{event.collection} → {event.target}: {event.done} of {event.total} records")
        elif isinstance(event, Migrated):
            _say(f"{event.collection} → {event.target}: {_how(event)}")
        elif isinstance(event, Failed):
            _say(f"{event.collection}: failed: {event.reason}")


def _say(line: str) -> None:
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()  # whoever reads a pipe wants to know now


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
        yield moved.collection, moved.target, _how(moved), f"{moved.records:,}"
    for alone in report.left_alone:
        yield alone.collection, alone.collection, f"left alone: {alone.reason}", ""
    for failed in report.failed:
        yield failed.collection, failed.collection, f"failed: {failed.reason}", ""


def _how(moved: Migrated) -> str:
    """What was done, in a few words."""
    what = "renamed" if moved.how == "rename" else f"merged, {moved.copied:,} copied"
    return f"{what}; the old one is kept" if moved.kept else what
