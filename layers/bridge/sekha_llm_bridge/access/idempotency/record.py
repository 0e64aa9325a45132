"""The record of one `Idempotency-Key` of one caller."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class RecordState(StrEnum):
    """What became of the first request."""

    UNDER_WAY = "under_way"
    """It is being answered, until the end of its lease at the latest."""

    ANSWERED = "answered"
    """It was answered, and the record has the answer."""

    NOT_KEPT = "not_kept"
    """It was answered, and the answer is too large for the record."""


class AnswerRecord(NamedTuple):
    """A record as it is stored. `owner` is a random text of the request that answers, `request_hash` the hash of its
    path and body. The lease ends at the deadline of the function that answers, so that a function that was ended leaves
    a record that lapses. Times are Unix times. `sealed` is the encrypted answer.
    """

    id: str
    owner: str
    request_hash: str
    state: RecordState
    lease_ends_at_ms: int
    expires_at_s: int
    sealed: bytes = b""

    def has_lapsed(self, now: datetime) -> bool:
        """Returns whether the record counts as absent. DynamoDB deletes an expired item hours later."""
        return self.expires_at_s <= unix_s(now) or (
            self.state is RecordState.UNDER_WAY and self.lease_ends_at_ms <= unix_ms(now)
        )


def unix_s(moment: datetime) -> int:
    """Returns the Unix time in whole seconds."""
    return int(moment.timestamp())


def unix_ms(moment: datetime) -> int:
    """Returns the Unix time in whole milliseconds."""
    return int(moment.timestamp() * 1000)
