"""Starts and ends child processes. None is left running, even when the stack is killed.

Each child has its own session: Ctrl-C in the terminal is only sent to the stack, and a child is ended together with
the processes that it started.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

GRACE_S = 2.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Child:
    """One child process and its descendants. `exited`: a task with the exit status; use `wait` to await it."""

    def __init__(self, process: asyncio.subprocess.Process, processes: "Processes") -> None:
        self._process = process
        self._processes = processes
        self.exited: asyncio.Task[int] = asyncio.create_task(process.wait())

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Waits for the end of the process. Returns its exit status."""
        return await asyncio.shield(self.exited)

    async def first_line(self) -> str:
        """Returns the first line that it prints; empty when it ends without one. Needs `has_pipes`."""
        stdout = self._process.stdout
        return (await stdout.readline()).decode().strip() if stdout else ""

    async def write_stdin(self, text: bytes) -> None:
        """Writes `text` to its stdin and closes it. Needs `has_pipes`."""
        stdin = self._process.stdin
        if stdin:
            with contextlib.suppress(ConnectionError):
                stdin.write(text)
                await stdin.drain()
            stdin.close()

    async def end(self, *, grace_s: float = GRACE_S) -> None:
        """Sends SIGTERM, waits `grace_s` seconds, then kills the process and its descendants. With 0, kills them at
        once."""
        if not self._processes.contains(self):
            return
        if grace_s and self.alive:
            _signal_group(self.pid, signal.SIGTERM)
            await asyncio.wait({self.exited}, timeout=grace_s)
        _signal_group(self.pid, signal.SIGKILL)
        await self.wait()
        self._processes.remove(self)


class Processes:
    """All child processes of the stack."""

    def __init__(self) -> None:
        self._children: set[Child] = set()
        self._watchdog: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the watchdog. Must be called before `spawn`."""
        script = Path(__file__).with_name("watchdog.py")
        self._watchdog = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", script, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )

    async def spawn(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        log: Path,
        folder: Path | None = None,
        has_pipes: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> Child:
        """Starts `command`. Its output is appended to `log`; with `has_pipes`, stdin and stdout are pipes instead."""
        pipe = asyncio.subprocess.PIPE if has_pipes else None
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                cwd=folder,
                env=dict(environment),
                stdin=pipe or asyncio.subprocess.DEVNULL,
                stdout=pipe or sink,
                stderr=sink,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        child = Child(process, self)
        self._children.add(child)
        self._write_to_watchdog(f"+{child.pid}")
        return child

    def contains(self, child: Child) -> bool:
        """Whether `child` has not been removed yet."""
        return child in self._children

    def remove(self, child: Child) -> None:
        """Removes `child`, which has ended."""
        if child in self._children:
            self._children.discard(child)
            self._write_to_watchdog(f"-{child.pid}")

    async def end_all(self) -> None:
        """Ends all children in parallel, then the watchdog."""
        await asyncio.gather(*(child.end() for child in list(self._children)))
        if self._watchdog and self._watchdog.stdin:
            self._watchdog.stdin.close()
            await self._watchdog.wait()

    def _write_to_watchdog(self, line: str) -> None:
        if self._watchdog and self._watchdog.stdin:
            self._watchdog.stdin.write(f"{line}\n".encode())


def resident_bytes(pid: int) -> int | None:
    """Returns the resident memory of `pid` and its descendants in bytes; None when it has ended or this is not
    Linux."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (OSError, IndexError):
        return None
    return pages * _PAGE_BYTES + sum(resident_bytes(int(child)) or 0 for child in children)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
