"""Prints the stack's messages: aligned and coloured on a terminal, as plain lines in a pipe."""

import os
import sys
from collections.abc import Mapping
from typing import Literal

from rich.console import Console
from rich.text import Text

_NAME_WIDTH = 21


class Terminal:
    """Prints messages to stdout, and problems to stderr."""

    def __init__(self) -> None:
        colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
        self._out = Console(highlight=False, soft_wrap=True, color_system=colours)
        self._err = Console(highlight=False, soft_wrap=True, color_system=colours, stderr=True)

    def started(self, name: str, detail: str, seconds: float) -> None:
        """Prints that a part has started, and how long that took."""
        line = Text.assemble(
            ("  ✓ ", "green"), (f"{name:<{_NAME_WIDTH}}", "bold"), detail, (f"  {seconds:.1f} s", "dim")
        )
        self._print(line)

    def note(self, name: str, detail: str) -> None:
        """Prints a remark."""
        self._print(Text.assemble("    ", (f"{name:<{_NAME_WIDTH}}", "bold"), detail))

    def problem(self, name: str, detail: str) -> None:
        """Prints a problem."""
        self._err.print(Text.assemble(("  ✗ ", "red"), (f"{name:<{_NAME_WIDTH}}", "bold"), detail))

    def error(self, message: str) -> None:
        """Prints why the stack does not start."""
        self._err.print(Text.assemble(("error: ", "bold red"), message))

    def ready(self, url: str, seconds: float, example: str) -> None:
        """Prints that the stack is ready; `example` is a command to try."""
        self._print(Text.assemble("\n", ("ready", "bold green"), f" {url} ({seconds:.1f} s)\n\n  {example}\n"))

    def print_line(self, text: str) -> None:
        """Prints a plain line."""
        self._print(Text(text))

    def _print(self, line: Text) -> None:
        self._out.print(line)
        sys.stdout.flush()


def curl(url: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> str:
    """Returns a curl command for `path`: a POST of JSON when there is a body."""
    all_headers = {"content-type": "application/json", **(headers or {})} if body else dict(headers or {})
    parts = [f"curl {url}{path}", *(f"-H '{name}: {value}'" for name, value in all_headers.items())]
    return " ".join([*parts, f"-d '{body}'"] if body else parts)
