"""One invocation of a function: what is asked, and what comes of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum

# Lambda's quotas for synchronous invocations, in bytes.
MAX_EVENT_BYTES = 6_291_456
MAX_ANSWER_BYTES = 6_291_556


class FaultKind(Enum):
    """How an invocation failed; the values are Lambda's own error types where it has one."""

    UNHANDLED = "Unhandled"
    CRASHED = "Runtime.ExitError"
    OUT_OF_MEMORY = "Runtime.OutOfMemory"
    INIT_FAILED = "Runtime.InitError"
    TIMED_OUT = "Sandbox.Timedout"
    ANSWER_TOO_LARGE = "Function.ResponseSizeTooLarge"


class FunctionFault(Exception):
    """The function failed: it answered with an error, crashed, or broke a limit."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class EventTooLargeError(Exception):
    """Lambda does not take an event of this size."""


class ThrottledError(Exception):
    """Every instance that the function may have was busy for too long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function answers: its content type, and its body in chunks as they arrive (one, unless it streams)."""

    content_type: str
    chunks: AsyncIterator[bytes]

    async def read(self) -> bytes:
        """Returns the whole body. Raises FunctionFault when the function fails on the way."""
        return b"".join([chunk async for chunk in self.chunks])


async def one_chunk(body: bytes) -> AsyncIterator[bytes]:
    """The body of a buffered answer."""
    yield body


class Invocation:
    """One event on its way through an instance.

    `begun` gives the answer as soon as it begins, or raises FunctionFault. `finished` is set when the runtime asks
    for the next event: only then is the instance free.
    """

    def __init__(self, event: bytes, *, request_id: str, trace_id: str) -> None:
        self.event = event
        self.request_id = request_id
        self.trace_id = trace_id
        self.begun: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.finished = asyncio.Event()
        # Nobody may be waiting any more (the integration timed out): that is no error.
        self.begun.add_done_callback(lambda future: future.cancelled() or future.exception())

    def answer(self, answer: Answer) -> None:
        """Gives the answer, unless there is one already."""
        if not self.begun.done():
            self.begun.set_result(answer)

    def fail(self, fault: FunctionFault) -> None:
        """Fails the invocation, unless its answer has begun."""
        if not self.begun.done():
            self.begun.set_exception(fault)
