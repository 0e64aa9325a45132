"""A streamed answer on its way down to the caller: failover up to its first token, then the time between its tokens,
its end, and what is to be known of it by then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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
from sekha_llm_bridge.execution.failure_reporting import learn, run_to_completion, unexpected_failure
from sekha_llm_bridge.execution.receipt import Receipt
from sekha_llm_bridge.execution.run import Run
from sekha_llm_bridge.observability import Metric, count
from sekha_llm_bridge.providers import AnswerState, ChatChunk
from sekha_llm_bridge.resilience import BreakerSession, Cooldowns, Permit
from sekha_llm_bridge.routing import Candidate
from sekha_llm_bridge.usage import Usage

_AFTER_BILL_S = 0.5  # for a proper end, once nothing is missing any more


class ChunkSource(Protocol):
    """One provider's answer, from its first token on. `usage` is known when it has ended, if at all."""

    @property
    def usage(self) -> Usage | None:
        """Tokens, or None where nobody counted them."""
        ...

    async def __anext__(self) -> ChatChunk:
        """The next chunk. Raises StopAsyncIteration once the answer is whole, `ProviderError` if it will never be."""
        ...

    async def aclose(self) -> None:
        """Breaks off what has not ended."""
        ...


S = TypeVar("S", bound=ChunkSource)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AttemptResult(Generic[T]):
    """What a candidate gave, and the leave under which it was asked."""

    answer: T
    candidate: Candidate
    permit: Permit


class StreamedAnswer(Generic[S]):
    """One request's answer as an iterator of chunks, after `begin`. Whoever does not read it to its end, or to its
    error, calls `abandon`.

    `source` and `first_token_ms` are there from the first token on, `receipt` from the end on. Raises
    `StreamInterrupted` or
    `DeadlineExceeded` where the answer does not come to its end, or the `ProviderError` of a fault that is the
    request's; each
    with the attempts.
    """

    receipt: Receipt | None = None
    first_token_ms: int = 0

    def __init__(
        self,
        descend: Callable[[], Awaitable[AttemptResult[S]]],
        run: Run,
        deadline: Deadline,
        watch: BreakerSession,
        cooldowns: Cooldowns,
    ) -> None:
        self._descend = descend
        self._run = run
        self._deadline = deadline
        self._watch = watch
        self._cooldowns = cooldowns
        self._served: AttemptResult[S] | None = None
        self._permit: Permit | None = None
        self._error: BridgeError | None = None
        self._is_over = False
        self._is_whole = False
        self._is_billed = False
        self._silent_s = 0.0

    async def begin(self) -> None:
        """Goes down the plan until a first token has come; until then, the caller sees nothing of any failure.

        A probe is over with it: the provider answers, and nobody is kept from it for as long as the rest may take.
        """
        try:
            with self._run.telling():
                self._served = await self._descend()
        except BridgeError as exc:
            self._is_over, self._error = True, exc
            raise
        self.first_token_ms = self._run.ms_so_far
        self._permit = self._served.permit
        if self._permit.is_probe:
            self._permit = None
            await run_to_completion(self._watch.report_outcome(self._served.permit, CallOutcome.SUCCESS))

    @property
    def source(self) -> S:
        """The provider's answer."""
        return self._begun.answer

    @property
    def candidate(self) -> Candidate:
        """Who gives it."""
        return self._begun.candidate

    @property
    def attempts(self) -> int:
        """How many attempts it took up to now."""
        return len(self._run.attempts) + (0 if self._is_over else 1)

    def __aiter__(self) -> "StreamedAnswer[S]":
        """Itself."""
        return self

    async def __anext__(self) -> ChatChunk:
        """The next chunk."""
        if self._is_over:
            raise StopAsyncIteration
        try:
            chunk = await self._next()
        except StopAsyncIteration:
            await run_to_completion(self._end())
            raise
        except ProviderError as exc:
            if not self._is_whole:
                raise await run_to_completion(self._broken(exc)) from exc
            await run_to_completion(self._end())
            raise StopAsyncIteration from None
        self._is_whole = chunk.state is AnswerState.FINISHED
        self._is_billed = self._is_whole and chunk.is_usage_only
        return chunk

    async def abandon(self) -> BridgeError:
        """Ends what has not ended, because nobody listens any more. Returns what came of it: what had failed before, or
        that the caller is gone, with the attempts.
        """
        was_over, self._is_over = self._is_over, True
        if not was_over and self._served is not None:
            self._run.abandoned(self.candidate)
        if self._error is None:
            self._error = ClientDisconnected("the caller went away before the answer's end")
            self._run.tell(self._error)
        if not was_over and self._served is not None:
            with suppress(asyncio.CancelledError):  # whoever is told twice to end has ended once
                await run_to_completion(self._close(CallOutcome.NEUTRAL))
        return self._error

    async def _close(self, verdict: CallOutcome) -> None:
        """Ends the connection, and has the breaker know, even where the first fails."""
        try:
            await self.source.aclose()
        finally:
            if self._permit is not None:
                await self._watch.report_outcome(self._permit, verdict)

    async def _next(self) -> ChatChunk:
        """Only what brings the answer on ends a silence; the time that the caller takes is not the provider's."""
        provider = self.candidate.entry.provider
        patience_s = _AFTER_BILL_S if self._is_billed else provider.timeout_secs
        allowed_s = min(patience_s - self._silent_s, self._deadline.remaining_s())
        clock = self._run.clock
        since_s = clock.monotonic_s()
        try:
            async with asyncio.timeout(allowed_s) as within:
                chunk = await self.source.__anext__()
        except (StopAsyncIteration, ProviderError):
            raise
        except Exception as exc:
            if within.expired():
                raise ProviderError(
                    FailureKind.TIMEOUT, f"the provider did not go on within {patience_s:.1f} s"
                ) from exc
            raise unexpected_failure(exc, provider.id, allowed_s, within) from exc
        self._silent_s = 0.0 if chunk.is_progress else self._silent_s + clock.monotonic_s() - since_s
        return chunk

    async def _end(self) -> None:
        self._is_over = True
        self._run.answered(self.candidate, self.source.usage)
        self.receipt = self._run.receipt(self.candidate)
        await self._close(CallOutcome.SUCCESS)

    async def _broken(self, failure: ProviderError) -> BridgeError:
        """What the caller is told. Where time was up the provider is not to blame, unless it had been silent as long as
        it may.
        """
        is_out_of_time = failure.kind is FailureKind.TIMEOUT and self._deadline.remaining_s() <= 0
        billed = failure.with_billing(failure.failure.usage, may_be_billed=True)
        self._run.failed(self.candidate, billed)
        self._run.is_deadline_limited = is_out_of_time
        self._is_over, self._error = True, _told(failure, is_out_of_time=is_out_of_time)
        self._run.tell(self._error)
        count(Metric.BROKEN_ANSWERS, provider=self.candidate.entry.provider.id, code=failure.code)
        try:
            await self.source.aclose()
        finally:
            await self._learn(failure)
        return self._error

    async def _learn(self, failure: ProviderError) -> None:
        """Where a probe was over with the first token, the failure is one like any other's."""
        provider_id = self.candidate.entry.provider.id
        permit = self._permit or await self._watch.request_permit(provider_id, lasts_s=0.0)
        if isinstance(permit, Permit):
            await learn(permit, failure, self._run, self._watch, self._cooldowns)

    @property
    def _begun(self) -> AttemptResult[S]:
        if self._served is None:
            raise RuntimeError("the answer has not begun")
        return self._served


def _told(failure: ProviderError, *, is_out_of_time: bool) -> BridgeError:
    """The error for the caller, who has the answer's beginning."""
    beginning = "what came before is not the whole answer"
    if is_out_of_time:
        return DeadlineExceeded(f"the time for this request was up in the middle of the answer; {beginning}")
    if failure.status < 500:
        return failure
    return StreamInterrupted(f"the answer broke off: {failure.message}; {beginning}")
