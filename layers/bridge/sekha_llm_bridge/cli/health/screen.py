"""The display: a heading and a table of the providers. It is a pure function of the view and the time."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from sekha_llm_bridge.cli.health.durations import ago_text, duration_text
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.health.report import Breaker, ProviderHealth
from sekha_llm_bridge.cli.health.view import View

_STATUS_STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}
_STATE_STYLES = {"closed": "green", "half_open": "yellow", "open": "red"}
_DEFAULT_STYLE = "dim"
_MISSING = "–"
_UNLIMITED = 10_000  # columns
_MIN_TABLE_COLUMNS = 72  # with fewer, the columns that are not folded leave no room for the provider's name

Part = tuple[str, str]  # a text and its style
Line = Sequence[Part]


@dataclass(frozen=True, slots=True)
class Row:
    """One provider, and the time of drawing."""

    provider_id: str
    health: ProviderHealth
    now: datetime


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and a function that returns the parts of a cell."""

    heading: str
    parts: Callable[[Row], Line]
    justify: Literal["left", "right"] = "left"
    may_fold: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns, and the separator between the parts of a cell: a comma, or a line break."""

    separator: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class HealthScreen:
    """The whole display, for rich to print. It uses the first layout that fits the console, else the last."""

    view: View
    now: datetime

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Rich's protocol. On a console that is not UTF-8, only ASCII is drawn."""
        for line in _heading(self.view, self.now):
            yield _text(line, options)
        if self.view.received is None:
            return
        report = self.view.received.report
        rows = [Row(provider_id, health, self.now) for provider_id, health in report.providers.items()]
        if rows:
            yield ""
            yield _table(rows, console, options)
        elif not report.hides_providers:
            yield ""
            yield "no provider is configured"


def _heading(view: View, now: datetime) -> Iterator[Line]:
    if view.received is None:
        yield [(f"waiting for {view.url}" if view.outage is None else view.url, "")]
    else:
        report = view.received.report
        yield [(report.status, f"bold {_STATUS_STYLES[report.status]}"), (f"  {view.url}", "")]
        yield [(f"version {report.version or 'unknown'}, reported {view.received.at:%Y-%m-%d %H:%M:%S %Z}", "dim")]
        for note in report.notes or ():
            yield [(f"note: {note}", "yellow")]
    if view.outage is not None:
        duration = duration_text((now - view.outage.since).total_seconds())
        yield [(f"no report since {view.outage.since:%H:%M:%S} ({duration}): {view.outage.reason}", "red")]


def _table(rows: Sequence[Row], console: Console, options: ConsoleOptions) -> Table:
    unlimited = options.update(max_width=_UNLIMITED)
    tables = [_table_with_layout(rows, layout, options) for layout in _LAYOUTS]
    fitting = (table for table in tables if console.measure(table, options=unlimited).maximum <= options.max_width)
    return next(fitting, None) or (tables[-1] if options.max_width >= _MIN_TABLE_COLUMNS else _blocks(rows, options))


def _table_with_layout(rows: Sequence[Row], layout: Layout, options: ConsoleOptions) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in layout.columns:
        table.add_column(column.heading, justify=column.justify, overflow="fold", no_wrap=not column.may_fold)
    for row in rows:
        table.add_row(*(_text(column.parts(row), options, layout.separator) for column in layout.columns))
    return table


def _blocks(rows: Sequence[Row], options: ConsoleOptions) -> Table:
    """Returns one block of lines for each provider, for a terminal that no table fits."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        for column in _BLOCK_COLUMNS:
            text = _text(column.parts(row), options, ", ")
            if text.plain:
                grid.add_row(Text(column.heading, style="bold"), text)
        grid.add_row("", "")
    return grid


def _text(parts: Line, options: ConsoleOptions, separator: str = "") -> Text:
    texts = [Text(_plain(text, options), style) for text, style in parts]
    return Text(separator, overflow="fold").join(texts)


def _plain(text: str, options: ConsoleOptions) -> str:
    """Returns `text` with characters that this console can display."""
    shown = printable(text)
    return shown.replace(_MISSING, "-").encode("ascii", "replace").decode() if options.ascii_only else shown


def _provider(row: Row) -> Line:
    return [(row.provider_id, "bold")]


def _provider_and_cause(row: Row) -> Line:
    return [*_provider(row), *((f"  {text}", style) for text, style in _cause(row) if text)]


def _status(row: Row) -> Line:
    return [_styled(row.health.status, _STATUS_STYLES)]


def _models(row: Row) -> Line:
    count = row.health.models_count
    return [_or_missing(None if count is None else str(count))]


def _latency(row: Row) -> Line:
    latency_ms = row.health.latency_ms
    return [_or_missing(None if latency_ms is None else f"{latency_ms:.0f} ms")]


def _checked(row: Row) -> Line:
    checked = row.health.last_checked
    return [_or_missing(None if checked is None else ago_text(checked, row.now))]


def _breaker(row: Row) -> Line:
    breaker = row.health.breaker
    if breaker.state is None:
        return [_or_missing(None)]
    state, style = _styled(breaker.state, _STATE_STYLES)
    return [(state.replace("_", "-"), style), *_probe(breaker, row.now)]


def _probe(breaker: Breaker, now: datetime) -> Iterator[Part]:
    """Yields when an open breaker may be probed, if the bridge reports it."""
    if breaker.state != "open" or breaker.retry_at is None:
        return
    seconds = math.ceil((breaker.retry_at - now).total_seconds())
    yield (f"probe in {duration_text(seconds)}" if seconds > 0 else "probe due", "")


def _failures(row: Row) -> Line:
    breaker = row.health.breaker
    count = _or_missing(None if breaker.failure_count is None else str(breaker.failure_count))
    return [count] if breaker.last_failure is None else [count, (ago_text(breaker.last_failure, row.now), "")]


def _cause(row: Row) -> Line:
    return [(row.health.breaker.cause or row.health.error or "", "")]


def _styled(word: str, styles: Mapping[str, str]) -> Part:
    return word, styles.get(word, _DEFAULT_STYLE)


def _or_missing(text: str | None) -> Part:
    return (_MISSING, _DEFAULT_STYLE) if text is None else (text, "")


_PROVIDER = Column("provider", _provider, may_fold=True)
_PROVIDER_AND_CAUSE = Column("provider", _provider_and_cause, may_fold=True)
_STATUS = Column("status", _status)
_MODELS = Column("models", _models, justify="right")
_STATE_COLUMNS = (
    Column("latency", _latency, justify="right"),
    Column("checked", _checked),
    Column("breaker", _breaker),
    Column("failures", _failures),
)
# From the widest to the narrowest. The number of models is dropped first: it only changes with the configuration.
_LAYOUTS = (
    Layout(", ", (_PROVIDER, _STATUS, _MODELS, *_STATE_COLUMNS, Column("why", _cause, may_fold=True))),
    Layout("\n", (_PROVIDER_AND_CAUSE, _STATUS, _MODELS, *_STATE_COLUMNS)),
    Layout("\n", (_PROVIDER_AND_CAUSE, _STATUS, *_STATE_COLUMNS)),
)
# The lines of a block, where no layout fits.
_BLOCK_COLUMNS = (_PROVIDER, _STATUS, _MODELS, *_STATE_COLUMNS, Column("why", _cause))
