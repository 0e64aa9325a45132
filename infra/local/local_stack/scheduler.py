"""Runs the functions that have a schedule, whenever they are due."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from local_stack.gateway import Invocable
from local_stack.invocation import FunctionFault, ThrottledError
from local_stack.schedules import Cron, Rate, scheduled_event
from local_stack.template import Schedule


class Clock(Protocol):
    """Time, as the scheduler needs it."""

    def now(self) -> datetime:
        """The time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Waits."""
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
    """Invokes the function for the time `at`; a failure goes to the job's `on_failure`."""
    try:
        answer = await job.function.invoke(scheduled_event(job.schedule, at, region=job.region))
        await answer.read()
    except (FunctionFault, ThrottledError) as fault:
        job.on_failure(job.schedule, fault)


async def run_when_due(job: Job, clock: Clock) -> None:
    """Invokes the function at each due time from now on, for ever. A run that takes long does not hold up the next."""
    async with asyncio.TaskGroup() as runs:
        due = clock.now()
        while True:
            due = job.timing.next_after(max(due, clock.now()))
            await clock.sleep(max(0.0, (due - clock.now()).total_seconds()))
            runs.create_task(run_once(job, due))
