"""A script that kills the stack's child processes when the stack itself was killed.

It reads from stdin which process groups have started (`+PID`) and ended (`-PID`). Stdin is closed when the stack ends
for any reason; the script then kills the remaining groups. It only uses the standard library, to start fast.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Reads until the end of stdin, then kills the remaining groups."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
