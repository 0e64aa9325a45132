"""Measures how requests are affected when the state table fails.

Requests are sent to the chat function's handler, one after the other, while the table is throttled, fails, hangs or is
unreachable, and is healthy in between. Every request must be answered.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from bridge_bench.endpoints import ENDPOINTS, configuration
from bridge_bench.faulty_table import FaultyTable, TableFault, faulty_table
from bridge_bench.lambda_function import Handler, LambdaContext, api_gateway_event, load_handler
from bridge_bench.provider_process import fast_provider

_OK = 200
_FAULT_SEQUENCE = (
    TableFault.NONE,
    TableFault.THROTTLED,
    TableFault.NONE,
    TableFault.FAILING,
    TableFault.NONE,
    TableFault.HANGING,
    TableFault.NONE,
    TableFault.UNREACHABLE,
    TableFault.NONE,
)
_PAUSE_S = 0.02
_SLOW_S = 0.05
_ENDPOINT = ENDPOINTS["chat_completions"]


@dataclass(frozen=True, slots=True)
class FaultPeriod:
    """What was measured during one fault; `table_calls` is the number of requests that the table received."""

    fault: TableFault
    took_s: Sequence[float]
    unanswered: int
    table_calls: int


def main(arguments: Sequence[str]) -> None:
    """The effect on requests when the state table is throttled, fails, hangs or is unreachable."""
    parser = argparse.ArgumentParser(prog="infra/bench/run outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=11.0, help="duration of each fault (%(default)s)")
    options = parser.parse_args(arguments)
    periods = measure_periods(options.seconds)
    print(_table(periods))
    if any(period.unanswered for period in periods):
        raise SystemExit("not every request was answered")


def measure_periods(seconds: float) -> list[FaultPeriod]:
    """Sends requests during one fault after another, each for `seconds`."""
    with tempfile.TemporaryDirectory() as folder, fast_provider(None) as port, faulty_table() as table:
        file = Path(folder) / "llm_providers.yaml"
        file.write_text(configuration(port))
        os.environ["LLM_CONFIG_PATH"] = str(file)
        with Path(os.devnull).open("w", encoding="utf-8") as devnull, redirect_stdout(devnull):  # the log
            handler = load_handler(_ENDPOINT.function)
            return [_measure_period(fault, seconds, table, handler) for fault in _FAULT_SEQUENCE]


def _measure_period(fault: TableFault, seconds: float, table: FaultyTable, handler: Handler) -> FaultPeriod:
    table.set_fault(fault)
    table.received_actions.clear()
    took, unanswered, ends_s = [], 0, time.monotonic() + seconds
    while time.monotonic() < ends_s:
        started_s = time.monotonic()
        answer = handler(api_gateway_event(_ENDPOINT), LambdaContext())
        took.append(time.monotonic() - started_s)
        unanswered += answer["statusCode"] != _OK
        time.sleep(_PAUSE_S)
    return FaultPeriod(fault, took, unanswered, len(table.received_actions))


def _table(periods: Sequence[FaultPeriod]) -> str:
    slow_column = f"over {_SLOW_S * 1000:.0f} ms"
    columns = ("the table is", "requests", "unanswered", "median ms", "slowest ms", slow_column, "table calls")
    return "\n".join(_row(cells) for cells in (columns, *map(_cells, periods)))


def _cells(period: FaultPeriod) -> Sequence[object]:
    median_ms, slowest_ms = (f"{statistic(period.took_s) * 1000:.1f}" for statistic in (statistics.median, max))
    slow = sum(took_s > _SLOW_S for took_s in period.took_s)
    name = "healthy" if period.fault is TableFault.NONE else period.fault
    return (name, len(period.took_s), period.unanswered, median_ms, slowest_ms, slow, period.table_calls)


def _row(cells: Sequence[object]) -> str:
    return f"{cells[0]!s:12}" + "".join(f"{cell!s:>12}" for cell in cells[1:])
