"""One invocation of a function: what is asked, and what comes of it."""

import asyncio
from dataclasses import dataclass
from enum import Enum

# Lambda's quotas for synchronous invocations, in bytes.
MAX_EVENT_BYTES = 6_291_456
MAX_ANSWER_BYTES = 6_291_556
# And for answers that are streamed.
MAX_STREAMED_BYTES = 200 * 1024 * 1024


class FaultKind(Enum):
    """How an invocation failed; the values are Lambda's own error types where it has one."""

    UNHANDLED = "Unhandled"
    CRASHED = "Runtime.ExitError"
    OUT_OF_MEMORY = "Runtime.OutOfMemory"
    INIT_FAILED = "Runtime.InitError"
    TIMED_OUT = "Sandbox.Timedout"
    ANSWER_TOO_LARGE = "Function.ResponseSizeTooLarge"
    TRUNCATED = "Runtime.TruncatedResponse"


class FunctionFault(Exception):
    """The function failed: it answered with an error, crashed, or broke a limit."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class EventTooLargeError(Exception):
    """Lambda does not take an event of this size."""


class ThrottledError(Exception):
    """Every instance that the function may have was busy for too long."""


class AnswerBody:
    """The body of an answer on its way from a function to the one that reads it.

    It holds one chunk: the function waits until that is read, so a slow reader slows the function down, and memory
    does not grow with the body.
    """

    def __init__(self) -> None:
        self._chunk: bytes | None = None
        self._fault: FunctionFault | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._news = asyncio.Event()
        self.ended = False
        self.abandoned = asyncio.Event()

    async def put(self, chunk: bytes) -> None:
        """Hands `chunk` on, once there is room for it. When nobody reads any more it is dropped."""
        await self._room.wait()
        if not self.abandoned.is_set():
            self._chunk = chunk
            self._room.clear()
            self._news.set()

    def end(self, fault: FunctionFault | None = None) -> None:
        """Ends the body; its reader learns of `fault` after the last chunk. Only the first end counts."""
        if not self.ended:
            self.ended, self._fault = True, fault
            self._news.set()

    def abandon(self) -> None:
        """Tells the function's side, by `abandoned`, that nobody reads the rest."""
        self.abandoned.set()
        self._chunk = None
        self._room.set()

    def __aiter__(self) -> "AnswerBody":
        return self

    async def __anext__(self) -> bytes:
        await self._news.wait()
        if self._chunk is None:
            raise self._fault or StopAsyncIteration
        chunk, self._chunk = self._chunk, None
        self._room.set()
        if not self.ended:
            self._news.clear()
        return chunk


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function answers: its content type, and its body in chunks as they arrive (one, unless it streams)."""

    content_type: str
    body: AnswerBody

    async def read(self, limit_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        """Returns the whole body. Raises FunctionFault when the function fails on the way, or answers with more."""
        kept = bytearray()
        async for chunk in self.body:
            kept += chunk
            if len(kept) > limit_bytes:
                self.body.abandon()
                raise too_large(limit_bytes)
        return bytes(kept)


async def whole_answer(content_type: str, body: bytes) -> Answer:
    """A buffered answer."""
    answer = Answer(content_type, AnswerBody())
    await answer.body.put(body)
    answer.body.end()
    return answer


def too_large(limit_bytes: int) -> FunctionFault:
    """The fault of an answer beyond Lambda's limit, in Lambda's words."""
    message = f"Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes)."
    return FunctionFault(FaultKind.ANSWER_TOO_LARGE, message)


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
        self._answer: Answer | None = None
        self._abandoned = False
        # Nobody may be waiting any more (the integration timed out): that is no error.
        self.begun.add_done_callback(lambda future: future.cancelled() or future.exception())

    @property
    def answered(self) -> bool:
        """Whether the function has given all of its answer, or failed: it is about to ask for the next event."""
        return self.begun.done() and (self._answer is None or self._answer.body.ended)

    def answer(self, answer: Answer) -> bool:
        """Gives the answer; returns False when there is one already, or a failure."""
        if self.begun.done():
            return False
        self._answer = answer
        self.begun.set_result(answer)
        if self._abandoned:
            answer.body.abandon()
        return True

    def fail(self, fault: FunctionFault) -> None:
        """Fails the invocation: in place of an answer, or in the midst of one. Without effect on a whole answer."""
        if not self.begun.done():
            self.begun.set_exception(fault)
        elif self._answer:
            self._answer.body.end(fault)

    def abandon(self) -> None:
        """Takes note that nobody waits for the answer, begun or not. The function is not stopped."""
        self._abandoned = True
        if self._answer:
            self._answer.body.abandon()
