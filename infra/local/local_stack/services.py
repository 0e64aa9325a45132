"""Starts the servers that the functions use (AWS services, Chroma, embedded models), and restarts them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from local_stack.processes import Child

MAX_RESTARTS = 3
# After a run of this length the service was healthy, and the count of its restarts is reset.
_HEALTHY_S = 60.0
_TAIL_LINES = 15


class ServiceError(Exception):
    """A service did not start, or ended too often."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `begin` starts its process, and returns when it answers; it raises ServiceError."""

    name: str
    detail: str
    begin: Callable[[], Awaitable[Child]]


async def keep_running(service: Service, child: Child, report: Callable[[str], None]) -> None:
    """Restarts `service` when its process ends. Returns after 3 restarts in a row that did not help, and after a
    failed start."""
    restarts = 0
    while True:
        began = time.monotonic()
        code = await child.wait()
        await child.end()
        restarts = 0 if time.monotonic() - began > _HEALTHY_S else restarts + 1
        if restarts > MAX_RESTARTS:
            report(f"{service.name} ended again (status {code}); it is not restarted any more")
            return
        report(f"{service.name} ended (status {code}); restarting")
        try:
            child = await service.begin()
        except ServiceError as fault:
            report(f"{service.name} could not be restarted: {fault}")
            return


async def ready_child(child: Child, log: Path, report: Awaitable[bool]) -> Child:
    """Returns `child` when `report` is true; otherwise ends it and raises ServiceError with the end of its log."""
    if await report:
        return child
    await asyncio.wait({child.exited}, timeout=0.1)
    status = f"ended with status {child.exited.result()}" if child.exited.done() else "did not answer in time"
    await child.end()
    raise ServiceError(f"{status}\n{tail(log)}")


def tail(log: Path) -> str:
    """Returns the last lines of a log, indented."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
