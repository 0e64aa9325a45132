"""The `health` command: chooses how the report is displayed, and the exit code."""

import json
import sys
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from sekha_llm_bridge.cli.bridge_options import NoSingleBridge, bridge_url
from sekha_llm_bridge.cli.health.report import Overall
from sekha_llm_bridge.cli.health.screen import HealthScreen
from sekha_llm_bridge.cli.health.source import HealthSource, NoReport, open_source
from sekha_llm_bridge.cli.health.view import View
from sekha_llm_bridge.cli.health.watch import watch
from sekha_llm_bridge.cli.terminal import can_move_cursor, make_console

_EXIT_CODES = {Overall.HEALTHY: 0, Overall.DEGRADED: 1, Overall.UNHEALTHY: 2}
_WRONG_OPTION, _NO_REPORT = 2, 3


def run(url: str | None, api_key: str | None, *, interval_s: float, once: bool, as_json: bool) -> int:
    """Shows the health of the bridge at `url`, or of the local one: as JSON, once, or on a terminal until Ctrl-C.

    Returns the exit code.
    """
    try:
        with open_source(bridge_url(url), api_key) as source:
            return _show(source, interval_s=interval_s, once=once, as_json=as_json)
    except NoSingleBridge as exc:
        sys.stderr.write(f"{exc}\n")
        return _WRONG_OPTION
    except NoReport as exc:
        sys.stderr.write(f"{exc}\n")
        return _NO_REPORT


def _show(source: HealthSource, *, interval_s: float, once: bool, as_json: bool) -> int:
    console = make_console()
    console.soft_wrap = False  # the screen folds its lines itself
    if as_json:
        return _print_json(source)
    if once or not can_move_cursor(sys.stdout):  # Ctrl-C cannot end a pipe's table
        return _print_once(source, console)
    return _watch(source, console, interval_s)


def _print_json(source: HealthSource) -> int:
    answer = source.ask()
    sys.stdout.write(json.dumps(answer.document, separators=(",", ":")) + "\n")
    return _EXIT_CODES[answer.report.status]


def _print_once(source: HealthSource, console: Console) -> int:
    view = View(source.url).with_report(source.ask().report, _now())
    console.print(HealthScreen(view, _now()))
    return _exit_code(view)


def _watch(source: HealthSource, console: Console, interval_s: float) -> int:
    with Live(console=console, auto_refresh=False) as live:
        view = watch(
            View(source.url),
            ask=source.ask,
            show=lambda view: live.update(HealthScreen(view, _now()), refresh=True),
            wait=lambda: time.sleep(interval_s),
            now=_now,
        )
    return _exit_code(view)


def _exit_code(view: View) -> int:
    """Returns the exit code of the last report, even when later requests got none."""
    return _NO_REPORT if view.received is None else _EXIT_CODES[view.received.report.status]


def _now() -> datetime:
    """Returns the time in the local time zone."""
    return datetime.now(UTC).astimezone()
