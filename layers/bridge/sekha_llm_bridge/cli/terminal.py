"""What may be written to a stream: colours and cursor movements on a terminal only, and lines of any length elsewhere.

`NO_COLOR` (no-color.org) and `TERM=dumb` make a terminal plain. `COLUMNS` sets the width, and `FORCE_COLOR` keeps the
colours of a pipe, as rich reads them.
"""

import os
import sys
from typing import TextIO

from rich.console import Console

_UNLIMITED_COLUMNS = 10_000
_DUMB_TERMINALS = frozenset({"dumb", "unknown"})


def can_move_cursor(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which a display can be redrawn."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB_TERMINALS


def can_show_progress(stream: TextIO) -> bool:
    """Whether the stream may show a progress bar: on a terminal without `NO_COLOR`; otherwise lines are written."""
    return can_move_cursor(stream) and not os.environ.get("NO_COLOR")


class _PlainConsole(Console):
    """A console that leaves a closed pipe to its caller. Rich's own exits with status 1, which has another meaning."""

    def on_broken_pipe(self) -> None:
        """Raises the `BrokenPipeError` that is being handled."""
        raise


def make_console(*, stderr: bool = False) -> Console:
    """Returns a console for standard output, or for standard error, that prints texts as they are, without markup."""
    stream = sys.stderr if stderr else sys.stdout
    is_wrapped = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return _PlainConsole(
        stderr=stderr,
        highlight=False,
        soft_wrap=True,
        markup=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=None if is_wrapped else _UNLIMITED_COLUMNS,
    )
