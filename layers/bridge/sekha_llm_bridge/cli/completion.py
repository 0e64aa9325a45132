"""Shell completion: prints or installs the script, which calls `sekha-bridge` itself with a variable set.

Typer's own options detect the shell and take no value; these take the shell's name, so that they work in a script.
"""

import sys
from enum import StrEnum

from typer import Exit

PROGRAM = "sekha-bridge"
_VARIABLE = "_SEKHA_BRIDGE_COMPLETE"


class Shell(StrEnum):
    """The shells that have completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def enable_completion() -> None:
    """Lets the program answer the shell's requests for completions."""
    from typer._completion_classes import completion_init

    completion_init()


def show(shell: Shell | None) -> None:
    """Prints the script of `shell` and exits. Writes no file."""
    if shell is None:
        return
    from typer._completion_shared import get_completion_script

    sys.stdout.write(get_completion_script(prog_name=PROGRAM, complete_var=_VARIABLE, shell=shell) + "\n")
    raise Exit


def install(shell: Shell | None) -> None:
    """Writes the script where `shell` finds it, adds a line to the startup file of bash or zsh, and exits."""
    if shell is None:
        return
    from typer._completion_shared import install as write_script

    _, path = write_script(shell, PROGRAM, _VARIABLE)
    sys.stdout.write(f"written to {path}; it takes effect in a new {shell}\n")
    raise Exit
