"""A script beside the stack that ends its processes if the stack itself is killed.

It is told on stdin which process groups live (`+PID`) and which have ended (`-PID`). When stdin ends, because the
stack ended in whatever way, it kills the groups that are left. Standard library only: it starts in milliseconds.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Reads until stdin ends, then kills what is left."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
