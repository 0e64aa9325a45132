"""A child process that acts as one function instance: it calls the chat function's handler, one request at a time.

Input: its number; then its `WorkSchedule`. Output: `ready`; then the requests that it served, and how often the table
was too slow.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from io import StringIO

from bridge_bench.breakers_findings import ServedRequest
from bridge_bench.breakers_process import exit_when_parent_exits, next_command, send_to_parent
from bridge_bench.endpoints import Endpoint
from bridge_bench.lambda_function import Handler, LambdaContext, api_gateway_event, load_handler

_PATH = "/v1/chat/completions"
_BURST_LENGTH_S = 0.6
"""The length of each burst of requests."""

_TABLE_UNAVAILABLE = '"state table unavailable"'


@dataclass(frozen=True, slots=True)
class WorkSchedule:
    """When a worker sends its requests: one per interval, none during the pause. Times are monotonic."""

    begin_s: float
    requests: int
    interval_s: float
    pause_from_s: float
    pause_until_s: float


def main() -> None:
    """See the module's docstring."""
    out, worker = sys.stdout, next_command()
    with StringIO() as sys.stdout:  # what a function writes there is its log
        handler = load_handler("chat_completions")
        _serve(handler, worker, number=-1)  # a first request is slow; it is not part of the race
        send_to_parent("ready", out)
        schedule = WorkSchedule(*next_command())
        exit_when_parent_exits()
        served = list(_serve_schedule(handler, worker, schedule))
        table_unavailable_count = sys.stdout.getvalue().count(_TABLE_UNAVAILABLE)
    send_to_parent([[astuple(one) for one in served], table_unavailable_count], out)


def _serve_schedule(handler: Handler, worker: int, schedule: WorkSchedule) -> Iterator[ServedRequest]:
    """Serves bursts of requests, each at a random time, so that instances see a failure at different times."""
    burst = max(1, round(_BURST_LENGTH_S / schedule.interval_s))
    for number in range(schedule.requests):
        if number % burst == 0:
            offset = random.random() * burst  # noqa: S311 — no secret: makes the order of requests random
            _wait_until(schedule.begin_s + (number + offset) * schedule.interval_s)
        if time.monotonic() >= schedule.pause_from_s:
            _wait_until(schedule.pause_until_s)
        yield _serve(handler, worker, number)


def _wait_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))


def _serve(handler: Handler, worker: int, number: int) -> ServedRequest:
    body = {"messages": [{"role": "user", "content": f"{worker} {number}"}], "max_tokens": 20}
    began_s = time.monotonic()
    answer = handler(api_gateway_event(Endpoint("chat_completions", _PATH, _PATH, body)), LambdaContext())
    provider = json.loads(answer["body"]).get("bridge", {}).get("provider_id", "")
    return ServedRequest(worker, number, began_s, time.monotonic(), answer["statusCode"], provider)


if __name__ == "__main__":
    main()
