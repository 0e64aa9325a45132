"""How an answer gets from a function to the one that reads it."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from local_stack.invocation import Answer, AnswerBody, FaultKind, FunctionFault, Invocation, buffered_answer

BUG = FunctionFault(FaultKind.UNHANDLED, "a bug")


def run(scenario: Callable[[], Coroutine[object, object, None]]) -> None:
    """Runs `scenario`, which must not hang."""
    asyncio.run(asyncio.wait_for(scenario(), 10))


async def settled() -> None:
    """Lets everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def invocation() -> Invocation:
    return Invocation(b"{}", request_id="r", trace_id="t")


def test_a_chunk_is_stored_only_when_the_previous_one_has_been_read() -> None:
    async def scenario() -> None:
        body = AnswerBody()
        await body.put(b"1")
        second = asyncio.create_task(body.put(b"2"))
        await settled()
        assert not second.done()
        assert await anext(body) == b"1"
        await second

    run(scenario)


def test_a_fault_is_raised_after_the_last_chunk() -> None:
    async def scenario() -> None:
        body = AnswerBody()
        await body.put(b"1")
        body.end(BUG)
        body.end()
        assert await anext(body) == b"1"
        with pytest.raises(FunctionFault, match="a bug"):
            await anext(body)

    run(scenario)


def test_a_waiting_reader_is_woken_by_the_end() -> None:
    async def scenario() -> None:
        body = AnswerBody()
        reading = asyncio.create_task(Answer("text/plain", body).read())
        await settled()
        body.end()
        assert await reading == b""

    run(scenario)


def test_a_waiting_writer_is_woken_when_the_reader_abandons_the_body() -> None:
    async def scenario() -> None:
        body = AnswerBody()
        await body.put(b"1")
        waiting = asyncio.create_task(body.put(b"2"))
        await settled()
        body.abandon()
        await waiting
        await body.put(b"3")
        assert body.abandoned.is_set()

    run(scenario)


def test_an_answer_that_exceeds_the_limit_is_not_read_further() -> None:
    async def scenario() -> None:
        answer = await buffered_answer("text/plain", b"four")
        with pytest.raises(FunctionFault, match=r"3 bytes") as caught:
            await answer.read(3)
        assert caught.value.kind is FaultKind.ANSWER_TOO_LARGE
        assert answer.body.abandoned.is_set()

    run(scenario)


def test_a_stream_counts_as_answered_only_at_its_end() -> None:
    async def scenario() -> None:
        one, body = invocation(), AnswerBody()
        assert one.answer(Answer("text/plain", body))
        assert not one.answered
        body.end()
        assert one.answered

    run(scenario)


def test_a_buffered_answer_and_a_failure_count_as_answered_at_once() -> None:
    async def scenario() -> None:
        one, other = invocation(), invocation()
        one.answer(await buffered_answer("text/plain", b""))
        other.fail(BUG)
        assert one.answered
        assert other.answered

    run(scenario)


def test_only_the_first_answer_is_used() -> None:
    async def scenario() -> None:
        one = invocation()
        first = await buffered_answer("text/plain", b"1")
        assert one.answer(first)
        assert not one.answer(await buffered_answer("text/plain", b"2"))
        assert (await one.answer_started) is first

    run(scenario)


def test_a_failure_during_a_stream_is_raised_by_the_stream() -> None:
    async def scenario() -> None:
        one, body = invocation(), AnswerBody()
        one.answer(Answer("text/plain", body))
        one.fail(BUG)
        with pytest.raises(FunctionFault):
            await anext(body)

    run(scenario)


def test_a_stream_that_starts_after_the_caller_stopped_waiting_is_abandoned_at_once() -> None:
    async def scenario() -> None:
        one, body = invocation(), AnswerBody()
        one.abandon()
        one.answer(Answer("text/plain", body))
        assert body.abandoned.is_set()

    run(scenario)
