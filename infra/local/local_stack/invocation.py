"""One invocation of a function: its event, its answer and its faults."""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

# Lambda's quotas for synchronous invocations, in bytes.
MAX_EVENT_BYTES = 6_291_456
MAX_ANSWER_BYTES = 6_291_556
# The limit of a streamed answer.
MAX_STREAMED_BYTES = 200 * 1024 * 1024


class FaultKind(Enum):
    """How an invocation failed. The values are Lambda's error types, where Lambda has one."""

    UNHANDLED = "Unhandled"
    CRASHED = "Runtime.ExitError"
    OUT_OF_MEMORY = "Runtime.OutOfMemory"
    INIT_FAILED = "Runtime.InitError"
    TIMED_OUT = "Sandbox.Timedout"
    ANSWER_TOO_LARGE = "Function.ResponseSizeTooLarge"
    TRUNCATED = "Runtime.TruncatedResponse"


class FunctionFault(Exception):
    """The function failed: it returned an error, crashed or exceeded a limit. `error_message` is that of the exception
    that the runtime reported."""

    def __init__(self, kind: FaultKind, message: str, *, error_message: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.error_message = error_message


class EventTooLargeError(Exception):
    """The event exceeds Lambda's limit."""


class ThrottledError(Exception):
    """All instances that the function may have were busy for too long."""


class AnswerBody:
    """The body of an answer, which the function writes and the gateway reads.

    It holds one chunk. The function waits until that is read, so a slow reader slows the function down, and memory
    does not grow with the body.
    """

    def __init__(self) -> None:
        self._chunk: bytes | None = None
        self._fault: FunctionFault | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._has_changed = asyncio.Event()
        self.ended = False
        self.abandoned = asyncio.Event()

    async def put(self, chunk: bytes) -> None:
        """Stores `chunk` when the one before has been read. After `abandon`, drops it."""
        await self._has_room.wait()
        if not self.abandoned.is_set():
            self._chunk = chunk
            self._has_room.clear()
            self._has_changed.set()

    def end(self, fault: FunctionFault | None = None) -> None:
        """Ends the body. The reader gets `fault` after the last chunk. Further calls have no effect."""
        if not self.ended:
            self.ended, self._fault = True, fault
            self._has_changed.set()

    def abandon(self) -> None:
        """Stops reading: sets `abandoned` and drops the rest."""
        self.abandoned.set()
        self._chunk = None
        self._has_room.set()

    def __aiter__(self) -> "AnswerBody":
        return self

    async def __anext__(self) -> bytes:
        await self._has_changed.wait()
        if self._chunk is None:
            raise self._fault or StopAsyncIteration
        chunk, self._chunk = self._chunk, None
        self._has_room.set()
        if not self.ended:
            self._has_changed.clear()
        return chunk


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a function: its content type, and its body in chunks (one, unless it streams)."""

    content_type: str
    body: AnswerBody

    async def read(self, limit_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        """Returns the whole body. Raises FunctionFault when the function fails, or when the body exceeds
        `limit_bytes`."""
        kept = bytearray()
        async for chunk in self.body:
            kept += chunk
            if len(kept) > limit_bytes:
                self.body.abandon()
                raise too_large_fault(limit_bytes)
        return bytes(kept)


class Invocable(Protocol):
    """A function that can be invoked."""

    async def invoke(self, event: bytes, *, trace_id: str = "") -> Answer:
        """Returns the answer to `event`."""
        ...


async def buffered_answer(content_type: str, body: bytes) -> Answer:
    """Returns a buffered answer."""
    answer = Answer(content_type, AnswerBody())
    await answer.body.put(body)
    answer.body.end()
    return answer


def too_large_fault(limit_bytes: int) -> FunctionFault:
    """Returns the fault for an answer that exceeds Lambda's limit, with Lambda's message."""
    message = f"Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes)."
    return FunctionFault(FaultKind.ANSWER_TOO_LARGE, message)


class Invocation:
    """One event that an instance processes.

    `answer_started` has the answer as soon as it starts, or the FunctionFault. `finished` is set when the runtime
    requests the next event: only then is the instance free.
    """

    def __init__(self, event: bytes, *, request_id: str, trace_id: str) -> None:
        self.event = event
        self.request_id = request_id
        self.trace_id = trace_id
        self.answer_started: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.finished = asyncio.Event()
        self._answer: Answer | None = None
        self._abandoned = False
        # Marks the exception as retrieved: after an integration timeout, nothing awaits this future.
        self.answer_started.add_done_callback(lambda future: future.cancelled() or future.exception())

    @property
    def answered(self) -> bool:
        """Whether the function has sent its whole answer, or failed: it will request the next event in a moment."""
        return self.answer_started.done() and (self._answer is None or self._answer.body.ended)

    def answer(self, answer: Answer) -> bool:
        """Sets the answer. Returns False when there is already an answer or a failure."""
        if self.answer_started.done():
            return False
        self._answer = answer
        self.answer_started.set_result(answer)
        if self._abandoned:
            answer.body.abandon()
        return True

    def fail(self, fault: FunctionFault) -> None:
        """Fails the invocation, before or during its answer. Has no effect on a complete answer."""
        if not self.answer_started.done():
            self.answer_started.set_exception(fault)
        elif self._answer:
            self._answer.body.end(fault)

    def abandon(self) -> None:
        """Records that the caller does not read the answer any more. The function is not stopped."""
        self._abandoned = True
        if self._answer:
            self._answer.body.abandon()
