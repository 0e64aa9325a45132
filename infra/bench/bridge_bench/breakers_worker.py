"""A companion that plays one function instance: the chat function's handler, one request after the other.

In: its number; then when to begin, how many requests, and how many seconds between them. Out: that
it is ready; then what it served, and how often the table was too slow for it.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple
from io import StringIO

from bridge_bench.breakers_findings import Served
from bridge_bench.breakers_process import end_with_starter, orders, say
from bridge_bench.endpoints import Endpoint
from bridge_bench.lambda_function import Handler, LambdaContext, api_gateway_event, load_handler

_PATH = "/v1/chat/completions"
_BURST = 4
_GAVE_UP = '"breaker table unavailable"'


def main() -> None:
    """See the module's docstring."""
    out, told = sys.stdout, orders()
    worker = next(told)
    with StringIO() as sys.stdout:  # what a function writes there is its log
        handler = load_handler("chat_completions")
        _serve(handler, worker, number=-1)  # what a first request alone takes is no part of the race
        say("ready", out)
        begins_s, requests, interval_s = next(told)
        end_with_starter()
        served = list(_requests(handler, worker, begins_s, requests, interval_s))
        gave_up = sys.stdout.getvalue().count(_GAVE_UP)
    say([[astuple(one) for one in served], gave_up], out)


def _requests(handler: Handler, worker: int, begins_s: float, requests: int, interval_s: float) -> Iterator[Served]:
    """In bursts, each at any moment of its time: while some are busy finding out, others know nothing of it."""
    for number in range(requests):
        if number % _BURST == 0:
            moment = random.random() * _BURST  # noqa: S311 — no secret: which requests meet is left to chance
            due_s = begins_s + (number + moment) * interval_s
            time.sleep(max(0.0, due_s - time.monotonic()))
        yield _serve(handler, worker, number)


def _serve(handler: Handler, worker: int, number: int) -> Served:
    body = {"messages": [{"role": "user", "content": f"{worker} {number}"}], "max_tokens": 20}
    began_s = time.monotonic()
    answer = handler(api_gateway_event(Endpoint("chat_completions", _PATH, _PATH, body)), LambdaContext())
    provider = json.loads(answer["body"]).get("bridge", {}).get("provider_id", "")
    return Served(worker, number, began_s, time.monotonic(), answer["statusCode"], provider)


if __name__ == "__main__":
    main()
