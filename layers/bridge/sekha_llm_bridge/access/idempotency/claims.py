"""Who answers: the first request claims the record, all others wait for its answer."""

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
_FIRST_PAUSE_S, _PAUSE_FACTOR, _MAX_PAUSE_S = 0.1, 1.5, 2.0
_RETRY_AFTER_S = 5.0


class Claim:
    """The right, and the duty, to answer: exactly one of `finish` and `release` must be called.

    Both try the store twice, and raise `AnswersUnavailable`; then the record lapses at the end of its lease.
    """

    def __init__(self, store: AnswerStore, keys: AnswerKeys, record: AnswerRecord) -> None:
        self._store = store
        self._keys = keys
        self._record = record

    async def finish(self, recorder: AnswerRecorder) -> RecordState | None:
        """Stores the answer, or that it is too large. Returns which of both; None where the lease had ended and another
        request has claimed the record since.
        """
        sealed = recorder.sealed(self._keys)
        state = RecordState.NOT_KEPT if sealed is None else RecordState.ANSWERED
        record = self._record._replace(state=state, sealed=sealed or b"")
        return state if await _try_twice(lambda: self._store.finish(record)) else None

    async def release(self) -> None:
        """Removes the record: nothing was billed, so that a repeated request may ask a model."""
        await _try_twice(lambda: self._store.remove(self._record.id, self._record.owner))


class Answers:
    """The answers of one store."""

    def __init__(self, store: AnswerStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def begin(self, keys: AnswerKeys, *, lease_ends_at: datetime, wait_s: float) -> Claim | StoredAnswer:
        """Returns a claim to the first request, and the first one's answer to all others, for which it waits at most
        `wait_s`. Where the first one left nothing, the first of those that wait gets the claim.

        Raises `RequestUnderWay` when the time is over, `IdempotencyKeyReused` for another request, `AnswerNotKept`, and
        `AnswersUnavailable`.
        """
        wait_ends_s = self._clock.monotonic_s() + wait_s
        record = AnswerRecord(
            id=keys.record_id,
            owner=secrets.token_urlsafe(16),
            request_hash=keys.request_hash,
            state=RecordState.UNDER_WAY,
            lease_ends_at_ms=unix_ms(lease_ends_at),
            expires_at_s=unix_s(max(self._clock.now(), lease_ends_at) + KEPT_FOR),
        )
        pause_s = _FIRST_PAUSE_S
        while not await self._claim(record):
            while (found := await self._read(keys)) is not None:
                if (answer := _answer_of(found, keys)) is not None:
                    return answer
                if self._clock.monotonic_s() + pause_s > wait_ends_s:
                    raise _under_way(found, self._clock.now())
                await self._clock.sleep(pause_s)
                pause_s = min(pause_s * _PAUSE_FACTOR, _MAX_PAUSE_S)
        return Claim(self._store, keys, record)

    async def _read(self, keys: AnswerKeys) -> AnswerRecord | None:
        """Returns the record, if there is one that has not lapsed."""
        found = await _try_twice(lambda: self._store.read(keys.record_id))
        return None if found is None or found.has_lapsed(self._clock.now()) else found

    async def _claim(self, record: AnswerRecord) -> bool:
        """Returns whether the record is claimed. A claim that failed may have been written, and would then keep all
        others waiting: it is removed, if that is possible.
        """
        try:
            return await _try_twice(lambda: self._store.claim(record, self._clock.now()))
        except AnswersUnavailable:
            with suppress(AnswersUnavailable):
                await self._store.remove(record.id, record.owner)
            raise


def _answer_of(record: AnswerRecord, keys: AnswerKeys) -> StoredAnswer | None:
    """Returns the record's answer; None while there is none."""
    if record.request_hash != keys.request_hash:
        raise IdempotencyKeyReused(
            "this Idempotency-Key was sent before with another path or body. Send a new key with a new request"
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


async def _try_twice(request: Callable[[], Awaitable[T]]) -> T:
    """Sends a request to the store, and again if it failed."""
    for _ in range(_TRIES - 1):
        with suppress(AnswersUnavailable):
            return await request()
    return await request()
