"""Starting and ending child processes, so that none is left behind however the stack ends.

Each child leads a session of its own: a Ctrl-C in the terminal reaches the stack alone, and a child is ended together
with everything that it started itself.
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
    """One child process and what it has started. `exited` holds its exit status in the end; to await it, use `wait`."""

    def __init__(self, process: asyncio.subprocess.Process, processes: "Processes") -> None:
        self._process = process
        self._processes = processes
        self.exited: asyncio.Task[int] = asyncio.create_task(process.wait())

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Returns its exit status, once it has ended."""
        return await asyncio.shield(self.exited)

    async def first_line(self) -> str:
        """Returns the first line it prints; empty when it ends without. For a child started with `reports`."""
        stdout = self._process.stdout
        return (await stdout.readline()).decode().strip() if stdout else ""

    async def tell(self, text: bytes) -> None:
        """Writes `text` to its stdin and closes that. For a child started with `reports`."""
        stdin = self._process.stdin
        if stdin:
            with contextlib.suppress(ConnectionError):
                stdin.write(text)
                await stdin.drain()
            stdin.close()

    async def end(self, *, grace_s: float = GRACE_S) -> None:
        """Asks it to end, waits `grace_s`, then kills it and everything it has started."""
        if not self._processes.knows(self):
            return
        if grace_s and self.alive:
            _signal_group(self.pid, signal.SIGTERM)
            await asyncio.wait({self.exited}, timeout=grace_s)
        _signal_group(self.pid, signal.SIGKILL)
        await self.wait()
        self._processes.forget(self)


class Processes:
    """All child processes of the stack."""

    def __init__(self) -> None:
        self._children: set[Child] = set()
        self._guardian: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the guardian; to be called first."""
        script = Path(__file__).with_name("guardian.py")
        self._guardian = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", script, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )

    async def spawn(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        log: Path,
        folder: Path | None = None,
        reports: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> Child:
        """Starts `command`; its output is added to `log`. With `reports`, stdin and stdout are ours instead."""
        pipe = asyncio.subprocess.PIPE if reports else None
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
        self._tell_guardian(f"+{child.pid}")
        return child

    def knows(self, child: Child) -> bool:
        """Whether `child` has not been ended yet."""
        return child in self._children

    def forget(self, child: Child) -> None:
        """Takes note that `child` has ended."""
        if child in self._children:
            self._children.discard(child)
            self._tell_guardian(f"-{child.pid}")

    async def end_all(self) -> None:
        """Ends every child, all at once, and then the guardian."""
        await asyncio.gather(*(child.end() for child in list(self._children)))
        if self._guardian and self._guardian.stdin:
            self._guardian.stdin.close()
            await self._guardian.wait()

    def _tell_guardian(self, line: str) -> None:
        if self._guardian and self._guardian.stdin:
            self._guardian.stdin.write(f"{line}\n".encode())


def resident_bytes(pid: int) -> int | None:
    """Memory of process `pid` and its descendants; None where that is unknown: it is gone, or this is not Linux."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (OSError, IndexError):
        return None
    return pages * _PAGE_BYTES + sum(resident_bytes(int(child)) or 0 for child in children)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
