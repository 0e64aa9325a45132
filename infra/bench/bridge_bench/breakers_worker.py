"""A companion that plays one function instance: the chat function's handler, one request after the other.

In: its number; then what is to do. Out: that it is ready; then what it served, and how often the table was too slow for
it.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from io import StringIO

from bridge_bench.breakers_findings import AttemptResult
from bridge_bench.breakers_process import end_with_starter, order, say
from bridge_bench.endpoints import Endpoint
from bridge_bench.lambda_function import Handler, LambdaContext, api_gateway_event, load_handler

_PATH = "/v1/chat/completions"
_ROUND_S = 0.6
"""How often a burst of requests comes."""

_GAVE_UP = '"state table unavailable"'


@dataclass(frozen=True, slots=True)
class Shift:
    """When to begin, how many requests to make, and in how many seconds each; but between two moments, none. Times are
    of the monotonic clock.
    """

    begins_s: float
    requests: int
    interval_s: float
    rests_from_s: float
    rests_until_s: float


def main() -> None:
    """See the module's docstring."""
    out, worker = sys.stdout, order()
    with StringIO() as sys.stdout:  # what a function writes there is its log
        handler = load_handler("chat_completions")
        _serve(handler, worker, number=-1)  # what a first request alone takes is no part of the race
        say("ready", out)
        shift = Shift(*order())
        end_with_starter()
        served = list(_work(handler, worker, shift))
        gave_up = sys.stdout.getvalue().count(_GAVE_UP)
    say([[astuple(one) for one in served], gave_up], out)


def _work(handler: Handler, worker: int, shift: Shift) -> Iterator[AttemptResult]:
    """In bursts, each at any moment of its time: while some are busy finding out, others know nothing of it."""
    burst = max(1, round(_ROUND_S / shift.interval_s))
    for number in range(shift.requests):
        if number % burst == 0:
            moment = random.random() * burst  # noqa: S311 — no secret: which requests meet is left to chance
            _wait_for(shift.begins_s + (number + moment) * shift.interval_s)
        if time.monotonic() >= shift.rests_from_s:
            _wait_for(shift.rests_until_s)
        yield _serve(handler, worker, number)


def _wait_for(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))


def _serve(handler: Handler, worker: int, number: int) -> AttemptResult:
    body = {"messages": [{"role": "user", "content": f"{worker} {number}"}], "max_tokens": 20}
    began_s = time.monotonic()
    answer = handler(api_gateway_event(Endpoint("chat_completions", _PATH, _PATH, body)), LambdaContext())
    provider = json.loads(answer["body"]).get("bridge", {}).get("provider_id", "")
    return AttemptResult(worker, number, began_s, time.monotonic(), answer["statusCode"], provider)


if __name__ == "__main__":
    main()
