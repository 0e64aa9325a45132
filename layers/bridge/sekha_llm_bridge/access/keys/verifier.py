"""Finds the key in a request's headers, and verifies it by the table of keys.

What was read is kept in memory for 60 s, so that a key is valid for at most that time after it was revoked, and that
many requests with one bad key cost one read. The numbers of records and of unknown handles that are kept have limits,
each its own: a flood of invented keys does not displace the records of valid ones.

Age is measured by the wall clock, because the monotonic one may stop while Lambda freezes the environment.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeVar

from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.access.keys.key_text import KeyText, parse_key
from sekha_llm_bridge.access.keys.record import KeyRecord, Rejection, UnreadableRecord, check
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import AccessUnavailable

KEY_HEADERS = ("authorization", "x-api-key", "api-key")
"""Where a key may be: as OpenAI's, Anthropic's and Azure's clients send it."""

_T = TypeVar("_T")
_KEPT_FOR = timedelta(seconds=60)
_READ_AGAIN_AFTER = timedelta(seconds=5)
_MAX_RECORDS = 1_000
_MAX_UNKNOWN = 10_000

Headers = Mapping[str, str | Sequence[str]]
"""The headers of a request; names in any case. A repeated header has a list, or is repeated in `items()`."""


class KeysUnavailable(AccessUnavailable):
    """The table of keys does not answer: no key can be verified."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=5)


class KeyStore(Protocol):
    """Reads the table of keys."""

    async def read(self, key_id: str) -> KeyRecord | None:
        """Returns the record of a handle; None if there is none.

        Raises `KeysUnavailable`, and `UnreadableRecord` for a record of another form.
        """
        ...


class _Finding(NamedTuple):
    """What the table had. `read_at` is a moment before the read."""

    record: KeyRecord | None
    read_at: datetime
    is_readable: bool = True


class KeyVerifier:
    """Verifies the keys of requests."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, _Finding] = {}
        self._unknown: dict[str, _Finding] = {}
        self._readings: dict[str, asyncio.Future[_Finding]] = {}
        self._read_again_at: dict[str, datetime] = {}

    async def verify(self, headers: Headers) -> Caller | Rejection:
        """Returns the caller whose key the headers have, or why the request is rejected.

        Raises `KeysUnavailable` where the key is not in memory and the table does not answer.
        """
        key = key_of(headers)
        if isinstance(key, Rejection):
            return key
        kept = self._kept(key.key_id)
        verdict = self._verdict(kept or await self._read(key.key_id), key)
        if kept and verdict is Rejection.UNKNOWN and self._may_read_again(kept):
            verdict = self._verdict(await self._read(key.key_id), key)
        return verdict

    def _verdict(self, finding: _Finding, key: KeyText) -> Caller | Rejection:
        return check(finding.record, key, self._clock.now()) if finding.is_readable else Rejection.UNREADABLE

    def _kept(self, key_id: str) -> _Finding | None:
        """Returns what was read of the key within the last minute."""
        finding = self._known.get(key_id) or self._unknown.get(key_id)
        return finding if finding and self._is_within(_KEPT_FOR, finding.read_at) else None

    def _may_read_again(self, kept: _Finding) -> bool:
        """Whether to look again for a secret that the kept record does not have: the key may just have been rotated.

        Once in a few seconds for each key, so that wrong secrets do not cost a read each.
        """
        if kept.record is None:
            return False
        last = self._read_again_at.get(kept.record.key_id)
        if last is not None and self._is_within(_READ_AGAIN_AFTER, last):
            return False
        _keep(self._read_again_at, kept.record.key_id, self._clock.now(), _MAX_RECORDS)
        return True

    def _is_within(self, time: timedelta, moment: datetime) -> bool:
        """Whether the moment is at most that long ago. A clock that was set back makes it false."""
        return timedelta(0) <= self._clock.now() - moment < time

    async def _read(self, key_id: str) -> _Finding:
        """Reads the record, or gets the result of a read that is under way.

        Who waits for another's read begins one of its own when the other is cancelled.
        """
        while reading := self._readings.get(key_id):
            await asyncio.wait([reading])  # a wait that is cancelled does not cancel the read
            if not reading.cancelled():
                return reading.result()
        reading = self._readings[key_id] = asyncio.get_running_loop().create_future()
        try:
            finding = await self._read_alone(key_id)
        except KeysUnavailable as exc:
            reading.set_exception(exc)
            reading.exception()  # not reported when nobody waits for it
            raise
        else:
            reading.set_result(finding)
            return finding
        finally:
            reading.cancel()  # nothing, if it has its result
            del self._readings[key_id]

    async def _read_alone(self, key_id: str) -> _Finding:
        read_at = self._clock.now()
        try:
            finding = _Finding(await self._store.read(key_id), read_at)
        except UnreadableRecord:
            finding = _Finding(None, read_at, is_readable=False)
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        if finding.record is None:
            _keep(self._unknown, key_id, finding, _MAX_UNKNOWN)
        else:
            _keep(self._known, key_id, finding, _MAX_RECORDS)
        return finding


def key_of(headers: Headers) -> KeyText | Rejection:
    """Returns the key that the headers have, or why they have none. The same key in two headers is one key."""
    texts = set(_key_texts(headers))
    if not texts:
        return Rejection.NO_KEY
    if len(texts) > 1:
        return Rejection.SEVERAL_KEYS
    return parse_key(texts.pop()) or Rejection.MALFORMED


def _key_texts(headers: Headers) -> Iterator[str]:
    """Yields the texts of the headers for keys. An `authorization` of another scheme than Bearer has no key."""
    for name, values in headers.items():
        kind = name.lower()
        if kind not in KEY_HEADERS:
            continue
        for value in [values] if isinstance(values, str) else values:
            text = value.strip()
            if kind == "authorization":
                scheme, _, text = text.partition(" ")
                text = text.strip() if scheme.lower() == "bearer" else ""
            if text:
                yield text


def _keep(kept: dict[str, _T], key_id: str, value: _T, limit: int) -> None:
    """Keeps a value, and forgets the oldest one beyond the limit."""
    kept.pop(key_id, None)
    kept[key_id] = value
    if len(kept) > limit:
        del kept[next(iter(kept))]
