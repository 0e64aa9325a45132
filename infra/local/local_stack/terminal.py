"""What the stack says: aligned and coloured on a terminal, plain lines when it is piped."""

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

_NAME_WIDTH = 21


class Terminal:
    """Prints what happens; problems go to stderr."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(highlight=False, soft_wrap=True, stderr=True)

    def started(self, name: str, detail: str, seconds: float) -> None:
        """Something runs."""
        line = Text.assemble(
            ("  ✓ ", "green"), (f"{name:<{_NAME_WIDTH}}", "bold"), detail, (f"  {seconds:.1f} s", "dim")
        )
        self._print(line)

    def note(self, name: str, detail: str) -> None:
        """Something worth knowing."""
        self._print(Text.assemble("    ", (f"{name:<{_NAME_WIDTH}}", "bold"), detail))

    def problem(self, name: str, detail: str) -> None:
        """Something went wrong."""
        self._err.print(Text.assemble(("  ✗ ", "red"), (f"{name:<{_NAME_WIDTH}}", "bold"), detail))

    def error(self, message: str) -> None:
        """The reason why the stack does not start."""
        self._err.print(Text.assemble(("error: ", "bold red"), message))

    def ready(self, url: str, seconds: float, example: str) -> None:
        """Everything runs; `example` is a command to paste."""
        self._print(Text.assemble("\n", ("ready", "bold green"), f" {url} ({seconds:.1f} s)\n\n  {example}\n"))

    def said(self, text: str) -> None:
        """A plain line."""
        self._print(Text(text))

    def _print(self, line: Text) -> None:
        self._out.print(line)
        sys.stdout.flush()


def curl(url: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> str:
    """Returns a command that calls `path`; with a body it is a POST of JSON."""
    given = {"content-type": "application/json", **(headers or {})} if body else dict(headers or {})
    parts = [f"curl {url}{path}", *(f"-H '{name}: {value}'" for name, value in given.items())]
    return " ".join([*parts, f"-d '{body}'"] if body else parts)
