"""A companion that plays two providers: the first fails when told to, and notes each call; the second always answers.

Out: its port. In: `fail` and `recover`, answered with the time; `calls`, answered with the first provider's.
"""

import asyncio
import json
import time
from dataclasses import astuple

from bridge_bench.breakers_findings import Call
from bridge_bench.breakers_process import orders, say
from bridge_bench.breakers_race import FIRST, SECOND
from local_stack.http_server import HttpServer, Request, Response, listen
from tests.fakes.provider import chat_completion

_TAKES_S = {FIRST: 0.02, SECOND: 0.005}
"""How long an answer takes: the first provider's so long that a second probe would meet the one under way."""

_LONGEST_BODY = 100_000


class _Providers:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._fails = False

    def obey(self, order: str) -> object:
        if order == "calls":
            return [astuple(call) for call in self.calls]
        self._fails = order == "fail"
        return time.monotonic()

    async def answer(self, request: Request) -> Response:
        at_s, name = time.monotonic(), request.target.split("/")[1]
        body = json.loads(await request.body.read(_LONGEST_BODY))
        fails = self._fails and name == FIRST
        await asyncio.sleep(_TAKES_S[name])
        if name == FIRST:
            worker, number = map(int, body["messages"][-1]["content"].split())
            self.calls.append(Call(worker, number, at_s, time.monotonic(), fails))
        answer = {"error": {"message": "out of order"}} if fails else chat_completion("Yes.", model=body["model"])
        return Response(500 if fails else 200, [("content-type", "application/json")], json.dumps(answer).encode())


async def _serve() -> None:
    providers, listening = _Providers(), listen("127.0.0.1")
    await HttpServer(providers.answer).start(listening)
    say(listening.getsockname()[1])
    told = orders()
    while (order := await asyncio.to_thread(next, told, None)) is not None:
        say(providers.obey(order))


if __name__ == "__main__":
    asyncio.run(_serve())
