"""What runs beside the functions (AWS services, Chroma, embedded models) is started, watched, and started again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from local_stack.processes import Child

MAX_RESTARTS = 3
# A service that ran this long before it ended was healthy: its restarts count from nought again.
_HEALTHY_S = 60.0
_TAIL_LINES = 15


class ServiceError(Exception):
    """A service did not start, or does not stay up."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service: `begin` starts its process and returns when it answers (raises ServiceError)."""

    name: str
    detail: str
    begin: Callable[[], Awaitable[Child]]


async def keep_up(service: Service, child: Child, report: Callable[[str], None]) -> None:
    """Starts `service` again whenever its process ends; returns when that does not help."""
    restarts = 0
    while True:
        began = time.monotonic()
        code = await child.wait()
        await child.end()
        restarts = 0 if time.monotonic() - began > _HEALTHY_S else restarts + 1
        if restarts > MAX_RESTARTS:
            report(f"{service.name} ended again (status {code}); it stays down")
            return
        report(f"{service.name} ended (status {code}); starting it again")
        try:
            child = await service.begin()
        except ServiceError as fault:
            report(f"{service.name} stays down: {fault}")
            return


async def ready_child(child: Child, log: Path, report: Awaitable[bool]) -> Child:
    """Returns `child` once `report` is true; else ends it and raises ServiceError with the end of its log."""
    if await report:
        return child
    await asyncio.wait({child.exited}, timeout=0.1)
    status = f"ended with status {child.exited.result()}" if child.exited.done() else "did not answer in time"
    await child.end()
    raise ServiceError(f"{status}\n{tail(log)}")


def tail(log: Path) -> str:
    """The last lines of a log, indented."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
