"""Invokes scheduled functions at their due times."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from local_stack.invocation import FunctionFault, Invocable, ThrottledError
from local_stack.schedules import Cron, Rate, scheduled_event
from local_stack.template import Schedule


class Clock(Protocol):
    """The time, and waiting."""

    def now(self) -> datetime:
        """Returns the time in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits for that many seconds."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Returns the time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Waits for that many seconds."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Job:
    """A schedule and the function it invokes."""

    schedule: Schedule
    timing: Rate | Cron
    function: Invocable
    region: str
    on_failure: Callable[[Schedule, Exception], None]


async def run_once(job: Job, at: datetime) -> None:
    """Invokes the function with an event for the time `at`. A failure is passed to `on_failure`."""
    try:
        answer = await job.function.invoke(scheduled_event(job.schedule, at, region=job.region))
        await answer.read()
    except (FunctionFault, ThrottledError) as fault:
        job.on_failure(job.schedule, fault)


async def run_when_due(job: Job, clock: Clock) -> None:
    """Invokes the function at each due time, for ever. A long run does not delay the next one."""
    async with asyncio.TaskGroup() as runs:
        due = clock.now()
        while True:
            due = job.timing.next_after(max(due, clock.now()))
            await clock.sleep(max(0.0, (due - clock.now()).total_seconds()))
            runs.create_task(run_once(job, due))
