"""A child process that acts as two providers. The first fails on command and records its calls; the second never fails.

Output: its port. Input: `fail` and `recover`, answered with the time; `calls`, answered with the recorded calls.
"""

import asyncio
import json
import time
from dataclasses import astuple

from bridge_bench.breakers_findings import Call
from bridge_bench.breakers_process import commands, send_to_parent
from bridge_bench.breakers_race import FIRST, SECOND
from local_stack.http_server import HttpServer, Request, Response, listen
from tests.fakes.provider import chat_completion

_RESPONSE_TIME_S = {FIRST: 0.02, SECOND: 0.005}
"""The first provider takes so long that a second probe would be concurrent with the one in progress."""

_MAX_BODY_BYTES = 100_000


class _Providers:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._fails = False

    def run_command(self, command: str) -> object:
        if command == "calls":
            return [astuple(call) for call in self.calls]
        self._fails = command == "fail"
        return time.monotonic()

    async def answer(self, request: Request) -> Response:
        at_s, name = time.monotonic(), request.target.split("/")[1]
        body = json.loads(await request.body.read(_MAX_BODY_BYTES))
        fails = self._fails and name == FIRST
        await asyncio.sleep(_RESPONSE_TIME_S[name])
        if name == FIRST:
            worker, number = map(int, body["messages"][-1]["content"].split())
            self.calls.append(Call(worker, number, at_s, time.monotonic(), fails))
        answer = {"error": {"message": "out of order"}} if fails else chat_completion("Yes.", model=body["model"])
        return Response(500 if fails else 200, [("content-type", "application/json")], json.dumps(answer).encode())


async def _serve() -> None:
    providers, listening = _Providers(), listen("127.0.0.1")
    await HttpServer(providers.answer).start(listening)
    send_to_parent(listening.getsockname()[1])
    received = commands()
    while (command := await asyncio.to_thread(next, received, None)) is not None:
        send_to_parent(providers.run_command(command))


if __name__ == "__main__":
    asyncio.run(_serve())
