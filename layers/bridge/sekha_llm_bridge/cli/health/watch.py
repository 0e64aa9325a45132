"""Watching a bridge until Ctrl-C."""

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
    """Asks, shows and waits, over and over; returns what was known when `KeyboardInterrupt` ended it.

    That `ask` raises `NoReport` is shown and does not end it.
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
