"""Runs `sekha-bridge` on a pseudo-terminal, in a pipe, or with its output closed, as a user's shell does."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

# A test run in a shell's background ignores SIGINT, and what it starts would inherit that.
_PROGRAM = """\
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sekha_llm_bridge.cli import main
main()
"""
COMMAND = [sys.executable, "-c", _PROGRAM]
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>()][A-Z0-9]?")
# Variables of the shell that change what a program prints.
_DISPLAY_VARIABLES = frozenset(
    {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM", "TTY_COMPATIBLE", "CI", "GITHUB_ACTIONS"}
)

VARIABLES = {"TERM": "xterm-256color"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a program printed on its terminal, with escape sequences, and its exit code."""

    raw: str
    exit_code: int

    @property
    def text(self) -> str:
        """The text without escape sequences."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    @property
    def has_escapes(self) -> bool:
        """Whether anything was coloured or moved."""
        return "\x1b" in self.raw


def environ_of(**added: str) -> dict[str, str]:
    """Returns this process's environment without the variables that change what a program prints, and with `added`."""
    return {**{name: value for name, value in os.environ.items() if name not in _DISPLAY_VARIABLES}, **added}


def on_terminal(
    *arguments: str, columns: int = 80, interrupt_when: Callable[[], object] | None = None, **environ: str
) -> Shown:
    """Runs the command with standard output and error on one pseudo-terminal. Sends Ctrl-C when the function returns."""
    reader, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    variables = environ_of(**{**VARIABLES, **environ})
    parts: list[bytes] = []
    with subprocess.Popen([*COMMAND, *arguments], stdin=screen, stdout=screen, stderr=screen, env=variables) as process:
        os.close(screen)
        reading = Thread(target=_read_all, args=(reader, parts))
        reading.start()
        if interrupt_when:
            _kept = interrupt_when()  # a connection stays open while the command ends
            process.send_signal(signal.SIGINT)
        code = process.wait(60)
        reading.join(10)
    os.close(reader)
    return Shown(b"".join(parts).decode(errors="replace"), code)


def _read_all(reader: int, parts: list[bytes]) -> None:
    while True:
        try:
            part = os.read(reader, 65536)
        except OSError:  # Linux reports the end of a pseudo-terminal as an error
            return
        if not part:
            return
        parts.append(part)


def in_pipe(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs the command with standard output and error in pipes."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=environ_of(**environ), check=False, timeout=60
    )


def with_closed_output(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a pipe whose reader has gone, as after `| head -0`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [*COMMAND, *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env=environ_of(**environ),
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
