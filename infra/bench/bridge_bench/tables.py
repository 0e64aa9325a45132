"""Formats measurements as tables. Every number is the median of its repeats, followed by the lowest and the highest."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from bridge_bench.measuring import Samples

_NAME_WIDTH, _CELL_WIDTH = 52, 18
_US, _MS = 1e3, 1e6


def warm_table(series: Mapping[str, Sequence[Samples]]) -> str:
    """Returns a table with a row for each call, in microseconds. Each call has one `Samples` per repeat."""
    columns: dict[str, Callable[[Samples], float]] = {
        "wall p50": lambda samples: statistics.median(samples.wall),
        "wall p90": lambda samples: _p90(samples.wall),
        "CPU p50": lambda samples: statistics.median(samples.cpu),
        "CPU p90": lambda samples: _p90(samples.cpu),
    }
    rows = [
        _row(name, [_cell([statistic(samples) for samples in repeats], _US) for statistic in columns.values()])
        for name, repeats in series.items()
    ]
    return "\n".join([_row("µs", list(columns)), *rows])


def cold_table(starts: Mapping[str, Sequence[Sequence[int]]]) -> str:
    """Returns a table of cold starts in milliseconds. Each process has its import time and its first request's."""
    rows = [
        _row(name, [_cell(column, _MS) for column in zip(*processes, strict=True)])
        for name, processes in starts.items()
    ]
    return "\n".join([_row("ms, in a fresh process", ["import", "first request"]), *rows])


def stream_table(
    title: str, columns: Sequence[str], repeats: Mapping[str, Sequence[Sequence[float]]], reference: str
) -> str:
    """Returns a table with a row for each API: its columns, and the ratio of the last one to the reference's in the
    same repeat; the reference is chat. Each repeat of an API has one number for each column.
    """
    rows = [title, _row("", [*columns, "ratio to chat's"])]
    for name, measured in repeats.items():
        ratios = [
            own[-1] / other[-1] if other[-1] else math.nan
            for own, other in zip(measured, repeats[reference], strict=True)
        ]
        cells = [_numbers(column, 0) for column in zip(*measured, strict=True)]
        rows.append(_row(name, [*cells, _numbers(ratios, 2)]))
    return "\n".join(rows)


def _p90(samples: Sequence[int]) -> float:
    return statistics.quantiles(samples, n=10)[-1]


def _row(name: str, cells: Sequence[str]) -> str:
    return name.ljust(_NAME_WIDTH) + "".join(cell.rjust(_CELL_WIDTH) for cell in cells)


def _cell(repeated_ns: Sequence[float], unit_ns: float) -> str:
    return _numbers([ns / unit_ns for ns in repeated_ns], 0 if unit_ns == _US else 1)


def _numbers(repeated: Sequence[float], digits: int) -> str:
    return "{:.{n}f} ({:.{n}f}–{:.{n}f})".format(statistics.median(repeated), min(repeated), max(repeated), n=digits)
