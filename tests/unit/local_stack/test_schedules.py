"""When schedules are due, and the event they send."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from local_stack.invocation import Answer, FaultKind, FunctionFault, buffered_answer
from local_stack.scheduler import Job, run_when_due
from local_stack.schedules import Rate, ScheduleError, parse, scheduled_event
from local_stack.template import Schedule

START = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [("rate(1 minute)", 60), ("rate(5 minutes)", 300), ("rate( 2 hours )", 7200), ("rate(1 day)", 86400)],
)
def test_a_rate_is_counted_from_the_last_run(expression: str, seconds: int) -> None:
    assert parse(expression).next_after(START) == START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("cron(0 12 * * ? *)", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        ("cron(30 10 * * ? *)", datetime(2026, 11, 24, 10, 30, tzinfo=UTC)),
        ("cron(0/15 * * * ? *)", datetime(2026, 11, 23, 10, 45, tzinfo=UTC)),
        ("cron(0 8 ? * TUE-FRI *)", datetime(2026, 11, 24, 8, 0, tzinfo=UTC)),
        ("cron(0 8 ? * 1 *)", datetime(2026, 11, 29, 8, 0, tzinfo=UTC)),
        ("cron(0 0 1 JAN,JUL ? *)", datetime(2027, 1, 1, 0, 0, tzinfo=UTC)),
        ("cron(0 0 29 2 ? *)", datetime(2028, 2, 29, 0, 0, tzinfo=UTC)),
    ],
)
def test_a_cron_is_due_at_the_next_minute_that_all_fields_match(expression: str, due: datetime) -> None:
    assert parse(expression).next_after(START) == due


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "rate(0 minutes)",
        "rate(1 week)",
        "rate(x)",
        "cron(* * * *)",
        "cron(61 * * * ? *)",
        "cron(0 0 L * ? *)",
        "at(x)",
    ],
)
def test_an_unknown_expression_is_an_error_that_quotes_it(expression: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(expression)
    assert expression in str(caught.value)


def test_the_event_is_that_of_eventbridge_scheduler() -> None:
    schedule = Schedule("every", "F", "rate(1 minute)", "scheduler")
    assert json.loads(scheduled_event(schedule, START, region="eu-west-1", new_id=lambda: "id-1")) == {
        "version": "0",
        "id": "id-1",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "123456789012",
        "time": "2026-11-23T10:30:00Z",
        "region": "eu-west-1",
        "resources": ["arn:aws:scheduler:eu-west-1:123456789012:schedule/default/every"],
        "detail": "{}",
    }


def test_the_templates_input_is_sent_instead_with_the_scheduled_time() -> None:
    schedule = Schedule("every", "F", "rate(1 minute)", "scheduler", '{"at": "<aws.scheduler.scheduled-time>"}')
    assert scheduled_event(schedule, START, region="x") == b'{"at": "2026-11-23T10:30:00Z"}'


class Enough(Exception):
    """The clock has slept as often as the test wanted."""


class SteppingClock:
    """A clock that jumps to the end of each sleep."""

    def __init__(self, sleeps: int) -> None:
        self._now = START
        self._left = sleeps
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        for _ in range(5):  # lets the runs that are due begin
            await asyncio.sleep(0)
        if not self._left:
            raise Enough
        self._left -= 1
        self.slept.append(seconds)
        self._now += timedelta(seconds=seconds)


class Recorder:
    """A function that records its events; it fails on demand."""

    def __init__(self, fault: FunctionFault | None = None) -> None:
        self.events: list[bytes] = []
        self._fault = fault

    async def invoke(self, event: bytes, *, trace_id: str = "") -> Answer:
        self.events.append(event)
        if self._fault:
            raise self._fault
        return await buffered_answer("application/json", b"null")


def run(function: Recorder, clock: SteppingClock) -> list[Exception]:
    """Runs a job of one minute until the clock has had enough; returns the failures."""
    failures: list[Exception] = []
    schedule = Schedule("every", "F", "rate(1 minute)", "scheduler")
    job = Job(schedule, Rate(60), function, "x", lambda _schedule, fault: failures.append(fault))
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run_when_due(job, clock))
    assert caught.group_contains(Enough)
    return failures


def test_a_job_runs_at_its_rate() -> None:
    function, clock = Recorder(), SteppingClock(2)
    assert run(function, clock) == []
    times = [json.loads(event)["time"] for event in function.events]
    assert times == ["2026-11-23T10:31:00Z", "2026-11-23T10:32:00Z"]
    assert clock.slept == [60, 60]


def test_a_failed_run_is_reported_and_the_next_one_runs() -> None:
    fault = FunctionFault(FaultKind.CRASHED, "gone")
    assert run(Recorder(fault), SteppingClock(2)) == [fault, fault]
