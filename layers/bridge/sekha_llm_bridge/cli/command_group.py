"""Runs a command, and turns what it does not handle itself into a message and an exit code.

Exit codes that every command has: 2 for wrong arguments or a missing package, 70 (`EX_SOFTWARE` of sysexits.h) for a
fault of the program, 130 for Ctrl-C, 141 when the reader of its output has gone (128 + SIGPIPE, as a shell reports it).
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer import Abort, Exit, TyperException
from typer._click import Context
from typer.core import TyperGroup

_USAGE, _SOFTWARE, _CLOSED_PIPE = 2, 70, 141
_TRACEBACK_VARIABLE = "SEKHA_BRIDGE_TRACEBACK"
# Module → the extra that has it. All others belong to the package itself.
_EXTRAS = {"chromadb": "chroma", "numpy": "chroma", "boto3": "aws", "botocore": "aws"}


class CommandGroup(TyperGroup):
    """The commands, with one place for the errors that they do not handle."""

    def make_context(self, *args: Any, **kwargs: Any) -> Context:
        """Parses the arguments; prints a help or a completion script that is asked for."""
        with _closed_pipe_as_exit():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Context) -> Any:
        """Runs the command. Every error leaves as `typer.Exit` with a message on standard error."""
        try:
            with _closed_pipe_as_exit():
                return super().invoke(ctx)
        except (TyperException, Abort, Exit, EOFError):
            raise
        except ModuleNotFoundError as exc:
            sys.stderr.write(f"{missing_package(exc)}\n")
            raise Exit(_USAGE) from exc
        except Exception as exc:
            _report(exc)
            raise Exit(_SOFTWARE) from exc


@contextmanager
def _closed_pipe_as_exit() -> Iterator[None]:
    """Exits silently when the reader of standard output has gone. What is left is flushed here, not at the end."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # so that the interpreter can flush what is left
        raise Exit(_CLOSED_PIPE) from None


def missing_package(error: ModuleNotFoundError) -> str:
    """Returns which package is missing, and the command that installs it."""
    module = (error.name or "").partition(".")[0]
    if module == "sekha_llm_bridge":
        return f"a part of sekha-bridge itself is missing, {error.name}: install it again"
    wanted = f"'sekha-llm-bridge[{_EXTRAS[module]}]'" if module in _EXTRAS else "sekha-llm-bridge"
    return f"this command needs the package {module}: pip install {wanted}"


def _report(error: Exception) -> None:
    if os.environ.get(_TRACEBACK_VARIABLE):
        traceback.print_exception(error)
        return
    sys.stderr.write(
        f"unexpected {type(error).__name__}: {error}\n"
        f"this is a fault of sekha-bridge: {_TRACEBACK_VARIABLE}=1 prints where it happened\n"
    )
