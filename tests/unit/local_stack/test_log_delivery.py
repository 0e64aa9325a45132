"""How the local stack delivers lines of logs, as CloudWatch Logs does."""

import asyncio
import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from local_stack.invocation import Answer, FaultKind, FunctionFault, buffered_answer
from local_stack.log_delivery import FollowedLogs, LogDelivery
from local_stack.log_pattern import LogPatternError, parse
from local_stack.template import LogSubscription

PATTERN = '{ ($.message = "request") && ($.attempts > 0) }'


@pytest.mark.parametrize(
    ("pattern", "line", "is_match"),
    [
        (PATTERN, '{"message": "request", "attempts": 1}', True),
        (PATTERN, '{"message": "request", "attempts": 0}', False),
        (PATTERN, '{"message": "request"}', False),
        (PATTERN, '{"message": "other", "attempts": 1}', False),
        (PATTERN, '{"message": "request", "attempts": "1"}', False),
        (PATTERN, '{"message": "request", "attempts": true}', False),
        (PATTERN, "REPORT RequestId: 1", False),
        (PATTERN, "[1]", False),
        ("{ $.n >= 1.5 }", '{"n": 1.5}', True),
        ("{ $.n != 2 }", '{"n": 2}', False),
        ('{ $.name != "a" }', '{"name": "b"}', True),
        ("", "anything", True),
    ],
)
def test_a_pattern_matches_as_in_cloudwatch_logs(pattern: str, line: str, is_match: bool) -> None:  # noqa: FBT001 — a row of the table
    assert parse(pattern).matches(line) == is_match


@pytest.mark.parametrize("pattern", ["ERROR", "{ $.a }", '{ $.a > "b" }', "{ $.a = 1 || $.b = 2 }", "[a, b]"])
def test_a_pattern_that_is_not_supported_is_refused(pattern: str) -> None:
    with pytest.raises(LogPatternError):
        parse(pattern)


def test_only_complete_lines_that_are_new_are_read_and_each_once(tmp_path: Path) -> None:
    old, late = tmp_path / "old.log", tmp_path / "late.log"
    old.write_text("before\n")
    logs = FollowedLogs([old, late])
    with old.open("a") as log:
        log.write("one\ntw")
    late.write_text("three\n")
    assert list(logs.new_lines()) == [(old, ["one"]), (late, ["three"])]
    with old.open("a") as log:
        log.write("o\n")
    assert list(logs.new_lines()) == [(old, ["two"])]
    assert list(logs.new_lines()) == []


def test_a_log_that_was_emptied_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("a long line\n")
    logs = FollowedLogs([log])
    log.write_text("b\n")
    assert list(logs.new_lines()) == [(log, ["b"])]


class Receiver:
    """A function that fails as often as it is told to, and keeps the events."""

    def __init__(self, failures: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.is_done = asyncio.Event()
        self._failures = failures

    async def invoke(self, event: bytes, *, trace_id: str = "") -> Answer:
        data = json.loads(event)["awslogs"]["data"]
        self.events.append(json.loads(gzip.decompress(base64.b64decode(data))))
        if len(self.events) <= self._failures:
            raise FunctionFault(FaultKind.UNHANDLED, "failed")
        self.is_done.set()
        return await buffered_answer("application/json", b"{}")


def test_a_failed_delivery_is_repeated_with_the_same_event(tmp_path: Path) -> None:
    log = tmp_path / "chat.log"

    async def deliver() -> Receiver:
        receiver = Receiver(failures=1)
        delivery = LogDelivery(LogSubscription("s", "F", parse(PATTERN)), receiver, lambda *_: None)
        running = asyncio.create_task(delivery.run(FollowedLogs([log])))
        log.write_text('{"message": "request", "attempts": 1}\nother\n')
        await asyncio.wait_for(receiver.is_done.wait(), 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return receiver

    first, second = asyncio.run(deliver()).events
    assert first == second
    assert (first["messageType"], first["logStream"]) == ("DATA_MESSAGE", "chat")
    assert [one["message"] for one in first["logEvents"]] == ['{"message": "request", "attempts": 1}']
