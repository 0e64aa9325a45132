"""Reads and displays the report of a bridge until Ctrl-C."""

from collections.abc import Callable
from datetime import datetime

from sekha_llm_bridge.cli.health.source import Answer, NoReport
from sekha_llm_bridge.cli.health.view import View


def watch(
    view: View,
    *,
    ask: Callable[[], Answer],
    show: Callable[[View], None],
    wait: Callable[[], None],
    now: Callable[[], datetime],
) -> View:
    """Repeats `ask`, `show` and `wait` until `KeyboardInterrupt`; returns the last view.

    When `ask` raises `NoReport`, the view shows it, and the loop continues.
    """
    try:
        show(view)
        while True:
            view = _asked(view, ask, now)
            show(view)
            wait()
    except KeyboardInterrupt:
        return view


def _asked(view: View, ask: Callable[[], Answer], now: Callable[[], datetime]) -> View:
    try:
        report = ask().report
    except NoReport as exc:
        return view.without_report(exc.reason, now())
    return view.with_report(report, now())
