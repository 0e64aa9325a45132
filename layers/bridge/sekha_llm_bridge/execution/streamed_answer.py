"""A streamed answer after its first token: the time between chunks, its end, its errors, and the receipt."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from sekha_llm_bridge.cancellation import run_to_completion
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState
from sekha_llm_bridge.errors import (
    BridgeError,
    CallOutcome,
    ClientDisconnected,
    DeadlineExceeded,
    FailureKind,
    ProviderError,
    StreamInterrupted,
)
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.failover import FailoverState
from sekha_llm_bridge.execution.failure_reporting import report_failure
from sekha_llm_bridge.execution.provider_call import call_within
from sekha_llm_bridge.execution.receipt import Receipt
from sekha_llm_bridge.observability import Metric, count
from sekha_llm_bridge.resilience import BreakerSession, Cooldowns, Permit
from sekha_llm_bridge.routing import Candidate
from sekha_llm_bridge.usage import Usage

_END_AFTER_USAGE_S = 0.5  # how long to wait for the end of the stream after the usage


class ChunkSource(Protocol):
    """One provider's answer, from its first token on."""

    @property
    def usage(self) -> Usage | None:
        """Tokens so far; None where they were not counted."""
        ...

    @property
    def is_estimated(self) -> bool:
        """Whether `usage` is the bridge's own estimate."""
        ...

    async def __anext__(self) -> AnswerChunk:
        """Returns the next chunk. Raises StopAsyncIteration once the answer is complete, `ProviderError` if it never
        will be.
        """
        ...

    async def aclose(self) -> None:
        """Cancels what has not ended."""
        ...


S = TypeVar("S", bound=ChunkSource)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AttemptResult(Generic[T]):
    """What a candidate returned, and the permit under which it was called."""

    answer: T
    candidate: Candidate
    permit: Permit


class StreamState(Enum):
    """The state of a streamed answer.

    OPEN            a choice has no finish reason yet: what breaks now is not a complete answer
    FINISHED        every choice has its finish reason: nothing but usage can follow
    USAGE_RECEIVED  usage came after that: nothing can follow
    ENDED           the answer is complete, has failed, or was abandoned

        OPEN ── finish reasons ──▶ FINISHED ── usage ──▶ USAGE_RECEIVED
        OPEN ── end or failure of the stream ──▶ ENDED, with `error`
        FINISHED, USAGE_RECEIVED ── end or failure of the stream ──▶ ENDED, with `receipt`
        FINISHED ── the provider continues all the same ──▶ OPEN
        any ── `abandon` ──▶ ENDED
    """

    OPEN = "open"
    FINISHED = "finished"
    USAGE_RECEIVED = "usage_received"
    ENDED = "ended"


class StreamedAnswer(Generic[S]):
    """One request's answer, from its first token on, as an iterator of chunks. A reader that stops before the end, or
    before the error, must call `abandon`.

    `receipt` is there once the answer is complete, `error` once it has failed. Iterating raises `StreamInterrupted` or
    `DeadlineExceeded` where the answer does not become complete, or the `ProviderError` of a failure that is the
    request's.
    """

    receipt: Receipt | None = None
    error: BridgeError | None = None

    def __init__(
        self,
        result: AttemptResult[S],
        failover: FailoverState,
        deadline: Deadline,
        session: BreakerSession,
        cooldowns: Cooldowns,
    ) -> None:
        self.chunks = result.answer
        self.candidate = result.candidate
        self.first_token_ms = failover.elapsed_ms
        self._permit: Permit | None = result.permit
        self._failover = failover
        self._deadline = deadline
        self._session = session
        self._cooldowns = cooldowns
        self._state = StreamState.OPEN
        self._s_without_content = 0.0

    @property
    def n_attempts(self) -> int:
        """The number of attempts, including the one of this answer."""
        return len(self._failover.attempts) + (0 if self._state is StreamState.ENDED else 1)

    def __aiter__(self) -> "StreamedAnswer[S]":
        """Returns itself."""
        return self

    async def __anext__(self) -> AnswerChunk:
        """Returns the next chunk."""
        if self._state is StreamState.ENDED:
            raise StopAsyncIteration
        try:
            chunk = await self._next_chunk()
        except StopAsyncIteration:
            await run_to_completion(self._complete())
            raise
        except ProviderError as exc:
            if self._state is StreamState.OPEN:
                raise await run_to_completion(self._fail(exc)) from exc
            await run_to_completion(self._complete())
            raise StopAsyncIteration from None
        self._state = _state_after(chunk)
        return chunk

    async def end_probe(self) -> None:
        """Reports a probe as successful, because the provider has answered. The rest of the answer is not part of it.

        If the client disconnects meanwhile, the answer is abandoned.
        """
        permit = self._permit
        if permit is None or not permit.is_probe:
            return
        self._permit = None
        try:
            await run_to_completion(self._session.report_outcome(permit, CallOutcome.SUCCESS))
        except BaseException:
            await self.abandon()
            raise

    async def abandon(self) -> BridgeError:
        """Ends what has not ended, because the client has disconnected; cancels the provider's work. Returns the error
        that ended the answer before, or `ClientDisconnected`.
        """
        if self._state is not StreamState.ENDED:
            self._state = StreamState.ENDED
            self._failover.log.record_cancellation(self.candidate, self.chunks.usage)
            with suppress(asyncio.CancelledError):  # a second cancellation changes nothing
                await run_to_completion(self._close(CallOutcome.NEUTRAL))
        return self.error or ClientDisconnected()

    async def _next_chunk(self) -> AnswerChunk:
        """Waits for the next chunk. The timeout is for chunks with content; the time that the caller takes does not
        count.
        """
        provider, clock = self.candidate.entry.provider, self._failover.clock
        timeout_s = _END_AFTER_USAGE_S if self._state is StreamState.USAGE_RECEIVED else provider.timeout_secs
        started_s = clock.monotonic_s()
        chunk = await call_within(
            lambda: anext(self.chunks, None),
            provider_id=provider.id,
            timeout_s=min(timeout_s - self._s_without_content, self._deadline.remaining_s()),
            timeout_message=f"the provider did not go on within {timeout_s:.1f} s",
        )
        if chunk is None:
            raise StopAsyncIteration
        self._s_without_content = (
            0.0 if chunk.is_progress else self._s_without_content + clock.monotonic_s() - started_s
        )
        return chunk

    async def _complete(self) -> None:
        self._state = StreamState.ENDED
        self.receipt = self._failover.record_success(
            self.candidate, self.chunks.usage, is_estimated=self.chunks.is_estimated
        )
        await self._close(CallOutcome.SUCCESS)

    async def _close(self, outcome: CallOutcome) -> None:
        """Closes the connection and reports the outcome to the breaker, even where closing fails."""
        try:
            await self.chunks.aclose()
        finally:
            if self._permit is not None:
                await self._session.report_outcome(self._permit, outcome)

    async def _fail(self, error: ProviderError) -> BridgeError:
        """Records the failure, and returns the error for the caller. Where the deadline has passed, the provider is not
        to blame, unless it had been silent for as long as it may.
        """
        self._state = StreamState.ENDED
        error = error.masked(self._failover.mask)
        is_out_of_time = error.kind is FailureKind.TIMEOUT and self._deadline.remaining_s() <= 0
        billed = error.with_billing(error.failure.usage, may_be_billed=True)
        self._failover.record_failure(self.candidate, billed, is_deadline_limited=is_out_of_time)
        self.error = _error_for_caller(error, is_out_of_time=is_out_of_time)
        provider_id = self.candidate.entry.provider.id
        count(Metric.BROKEN_ANSWERS, provider=provider_id, code=error.code)
        try:
            await self.chunks.aclose()
        finally:
            # After a probe that ended with the first token, the failure counts like any other request's.
            permit = self._permit or await self._session.request_permit(provider_id, lasts_s=0.0)
            if isinstance(permit, Permit):
                await report_failure(permit, self._failover, self._session, self._cooldowns)
        return self.error


def _state_after(chunk: AnswerChunk) -> StreamState:
    if chunk.state is not AnswerState.FINISHED:
        return StreamState.OPEN
    return StreamState.USAGE_RECEIVED if chunk.is_usage_only else StreamState.FINISHED


def _error_for_caller(error: ProviderError, *, is_out_of_time: bool) -> BridgeError:
    """The error for a caller who has received the beginning of the answer."""
    incomplete = "what came before is not the whole answer"
    if is_out_of_time:
        return DeadlineExceeded(f"the time for this request was up in the middle of the answer; {incomplete}")
    if error.status < 500:
        return error
    return StreamInterrupted(f"the answer was interrupted: {error.message}; {incomplete}")
