"""Repeated requests in any order and number, some of which fail or are killed: what always holds."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.access.idempotency import AnswerKeys, AnswerRecorder, Answers, Claim, RecordState, StoredAnswer
from sekha_llm_bridge.access.idempotency.memory import MemoryAnswerStore
from sekha_llm_bridge.errors import RequestUnderWay
from tests.fakes.waiting_clock import PersistentLoop, WaitingClock

FUNCTION_S = 30  # the time of a function, and its wait
LEASE_S = FUNCTION_S + 1  # the clocks of two functions may differ
KEYS = AnswerKeys.of("key", caller_id="key_a", path="/", body=b"{}")


class Ending(Enum):
    """How a request ends that has the claim."""

    ANSWERED = "answered"
    FAILED_FREE = "failed, and nothing was billed"
    KILLED = "killed"


@dataclass(frozen=True)
class Planned:
    """A request: when it comes, how long a model takes for it, and how it ends."""

    at_s: float
    takes_s: float
    ending: Ending


class Run:
    """Requests with one key, in virtual time."""

    def __init__(self, requests: list[Planned]) -> None:
        self.clock = WaitingClock()
        self.answers = Answers(MemoryAnswerStore(), self.clock)
        self.asked: list[Ending] = []
        self.n_holders = self.max_holders = 0
        self.received: list[bytes | None] = []
        loop = PersistentLoop(self.clock)
        loop.run(self._all(requests))
        loop.close()

    async def _all(self, requests: list[Planned]) -> None:
        await asyncio.gather(*(self._one(request) for request in requests))

    async def _one(self, request: Planned) -> None:
        await self.clock.sleep(request.at_s)
        started_s = self.clock.monotonic_s()
        lease_ends_at = self.clock.now() + timedelta(seconds=LEASE_S)
        try:
            begun = await self.answers.begin(KEYS, lease_ends_at=lease_ends_at, wait_s=FUNCTION_S)
        except RequestUnderWay:
            self.received.append(None)
            return
        if isinstance(begun, StoredAnswer):
            self.received.append(begun.body)
        else:
            await self._ask(request, begun, started_s + FUNCTION_S - self.clock.monotonic_s())

    async def _ask(self, request: Planned, claim: Claim, left_s: float) -> None:
        body = b"answer %d" % len(self.asked)
        ending = request.ending if request.takes_s < left_s else Ending.KILLED
        self.asked.append(ending)
        self.n_holders += 1
        self.max_holders = max(self.max_holders, self.n_holders)
        if ending is Ending.KILLED:
            await self.clock.sleep(left_s)  # Lambda ends the function at its deadline
            self.n_holders -= 1
            return
        await self.clock.sleep(request.takes_s)
        self.n_holders -= 1
        if ending is Ending.FAILED_FREE:
            await claim.release()
            return
        recorder = AnswerRecorder()
        recorder.begin(200, {})
        recorder.add(body)
        assert await claim.finish(recorder) is RecordState.ANSWERED
        self.received.append(body)


_REQUESTS: Any = st.lists(
    st.builds(
        Planned,
        at_s=st.integers(0, 120).map(lambda tenths: tenths / 2),
        takes_s=st.integers(0, FUNCTION_S * 10 - 1).map(lambda tenths: tenths / 10),
        ending=st.sampled_from(Ending),
    ),
    min_size=1,
    max_size=8,
)


@given(_REQUESTS)
def test_no_two_requests_ask_at_once_one_answers_and_all_others_get_its_answer(requests: list[Planned]) -> None:
    run = Run(requests)
    assert run.max_holders <= 1
    assert run.asked.count(Ending.ANSWERED) <= 1
    assert Ending.ANSWERED not in run.asked[:-1]  # after an answer nobody asks
    assert len({body for body in run.received if body is not None}) == run.asked.count(Ending.ANSWERED)


@given(_REQUESTS)
def test_the_key_is_usable_again_once_every_function_has_ended(requests: list[Planned]) -> None:
    last = Planned(at_s=200, takes_s=0, ending=Ending.ANSWERED)
    run = Run([*requests, last])
    assert run.received[-1] is not None
