"""Who answers: the first request claims the record, all others wait for its answer."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from sekha_llm_bridge.access.idempotency.answer import AnswerRecorder, StoredAnswer
from sekha_llm_bridge.access.idempotency.keys import AnswerKeys
from sekha_llm_bridge.access.idempotency.record import AnswerRecord, RecordState, unix_ms, unix_s
from sekha_llm_bridge.access.idempotency.store import AnswerStore, AnswersUnavailable
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import AnswerNotKept, IdempotencyKeyReused, RequestUnderWay

T = TypeVar("T")
KEPT_FOR = timedelta(days=1)
_TRIES = 2
_STORE_S = 2.0  # two tries of a store whose calls take at most a second
_LEAST_CALL_S = 1.0  # a call near the end of a wait has this time
_CLAIM_PART = 0.5
_FIRST_PAUSE_S, _PAUSE_FACTOR, _MAX_PAUSE_S = 0.1, 1.5, 2.0
_RETRY_AFTER_S = 5.0
_SOON_S = 1.0


class Claim:
    """The right, and the duty, to answer: exactly one of `finish` and `release` must be called.

    Both try the store twice, for at most `limit_s` in all, and raise `AnswersUnavailable`; then the record lapses at
    the end of its lease, unless the write was made all the same.
    """

    def __init__(self, store: AnswerStore, keys: AnswerKeys, record: AnswerRecord) -> None:
        self._store = store
        self._keys = keys
        self._record = record

    async def finish(self, recorder: AnswerRecorder, *, limit_s: float = _STORE_S) -> RecordState | None:
        """Stores the answer, or that it is too large. Returns which of both; None where the lease had ended and another
        request has claimed the record since.
        """
        sealed = recorder.sealed(self._keys)
        state = RecordState.NOT_KEPT if sealed is None else RecordState.ANSWERED
        record = self._record._replace(state=state, sealed=sealed or b"")
        return state if await _try_twice(lambda: self._store.finish(record), limit_s) else None

    async def release(self, *, limit_s: float = _STORE_S) -> None:
        """Removes the record: nothing was billed, so that a repeated request may ask a model."""
        await _try_twice(lambda: self._store.remove(self._record.id, self._record.owner), limit_s)


class Answers:
    """The answers of one store."""

    def __init__(self, store: AnswerStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def begin(self, keys: AnswerKeys, *, lease_ends_at: datetime, wait_s: float) -> Claim | StoredAnswer:
        """Returns a claim to the first request, and the first one's answer to all others, for which it waits at most
        `wait_s`. Where the first one left nothing, the first of those that wait gets the claim, if at least half of
        its own time until `lease_ends_at` is left: with less, a model's answer would come too late, and be kept as an
        error that may have been billed.

        Raises `RequestUnderWay` when the time is over, `IdempotencyKeyReused` for another request, `AnswerNotKept`, and
        `AnswersUnavailable`.
        """
        started_s, now = self._clock.monotonic_s(), self._clock.now()
        wait_ends_s = started_s + wait_s
        claims_end_s = started_s + (lease_ends_at - now).total_seconds() * _CLAIM_PART
        record = AnswerRecord(
            id=keys.record_id,
            owner=secrets.token_urlsafe(16),
            request_hash=keys.request_hash,
            state=RecordState.UNDER_WAY,
            lease_ends_at_ms=unix_ms(lease_ends_at),
            expires_at_s=unix_s(max(now, lease_ends_at) + KEPT_FOR),
        )
        while not await self._claim(record, wait_ends_s):
            if (answer := await self._wait_for_answer(keys, wait_ends_s)) is not None:
                return answer
            if self._clock.monotonic_s() > claims_end_s:
                raise _too_late()
        return Claim(self._store, keys, record)

    async def _wait_for_answer(self, keys: AnswerKeys, wait_ends_s: float) -> StoredAnswer | None:
        """Returns the first request's answer; None once there is no record any more."""
        pause_s = _FIRST_PAUSE_S
        while (found := await self._read(keys, wait_ends_s)) is not None:
            if (answer := _answer_of(found, keys)) is not None:
                return answer
            if self._clock.monotonic_s() + pause_s > wait_ends_s:
                raise _under_way(found, self._clock.now())
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * _PAUSE_FACTOR, _MAX_PAUSE_S)
        return None

    async def _read(self, keys: AnswerKeys, wait_ends_s: float) -> AnswerRecord | None:
        """Returns the record, if there is one that has not lapsed."""
        found = await _try_twice(lambda: self._store.read(keys.record_id), self._limit_s(wait_ends_s))
        return None if found is None or found.has_lapsed(self._clock.now()) else found

    async def _claim(self, record: AnswerRecord, wait_ends_s: float) -> bool:
        """Returns whether the record is claimed. A claim that failed may have been written, and would then keep all
        others waiting: it is removed, if that is possible.
        """
        try:
            limit_s = self._limit_s(wait_ends_s)
            return await _try_twice(lambda: self._store.claim(record, self._clock.now()), limit_s)
        except AnswersUnavailable:
            with suppress(AnswersUnavailable):
                await self._store.remove(record.id, record.owner)
            raise

    def _limit_s(self, wait_ends_s: float) -> float:
        """Returns the time for a call and its repetition: what remains of the wait."""
        return max(wait_ends_s - self._clock.monotonic_s(), _LEAST_CALL_S)


def _answer_of(record: AnswerRecord, keys: AnswerKeys) -> StoredAnswer | None:
    """Returns the record's answer; None while there is none."""
    if record.request_hash != keys.request_hash:
        raise IdempotencyKeyReused(
            "this Idempotency-Key was sent before with another path, body or x-bridge header. Send a new key with a new"
            " request"
        )
    if record.state is RecordState.UNDER_WAY:
        return None
    if record.state is RecordState.NOT_KEPT:
        raise _not_kept("is too large to be kept for a repeated request")
    try:
        return StoredAnswer.open(record.sealed, keys)
    except ValueError as exc:
        raise _not_kept("cannot be decrypted any more") from exc


def _not_kept(reason: str) -> AnswerNotKept:
    return AnswerNotKept(
        f"this request was answered before, and may have been billed, but its answer {reason}. To ask a model again,"
        " send a new Idempotency-Key"
    )


def _under_way(record: AnswerRecord, now: datetime) -> RequestUnderWay:
    left_s = (record.lease_ends_at_ms - unix_ms(now)) / 1000
    return RequestUnderWay(
        "the first request with this Idempotency-Key is still being answered. Send it again later, with the same key",
        retry_after_s=min(max(left_s, 1.0), _RETRY_AFTER_S),
    )


def _too_late() -> RequestUnderWay:
    return RequestUnderWay(
        "the first request with this Idempotency-Key has ended without an answer, and this one has too little time left"
        " to ask a model. Send it again, with the same key",
        retry_after_s=_SOON_S,
    )


async def _try_twice(request: Callable[[], Awaitable[T]], limit_s: float) -> T:
    """Sends a request to the store, and again if it failed, for at most `limit_s` in all."""
    try:
        async with asyncio.timeout(limit_s):
            for _ in range(_TRIES - 1):
                with suppress(AnswersUnavailable):
                    return await request()
            return await request()
    except TimeoutError as exc:
        raise AnswersUnavailable("the store did not answer in time") from exc
