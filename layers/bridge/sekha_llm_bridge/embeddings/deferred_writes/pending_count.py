"""What to think of a count that does not come to nought although the queue is empty.

A sender that dies after it has noted its records, or a drain that dies before it notes what it has stored, leaves a
number behind that nobody takes off. Records on their way to the queue count as well. These are sent within minutes,
so what is left over is the lowest count that was seen with an empty queue, once that is a few minutes old.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

SENT_WITHIN = timedelta(seconds=330)
"""A function that puts records into the queue lives no longer than this after it has noted them."""

_TOO_OLD = timedelta(minutes=15)  # in between the queue may have been full for hours


@dataclass(frozen=True, slots=True)
class PendingCount:
    """How many records wait by the pending_writes, and the lowest number seen with an empty queue, from `low_at` on."""

    waiting: int
    low: int | None = None
    low_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoreLowest:
    """The count is the lowest so far; `since` is when the look-out began."""

    low: int
    since: datetime


@dataclass(frozen=True, slots=True)
class SubtractLeftover:
    """So many are left over by the dead."""

    records: int


def reconcile_with_empty_queue(count: PendingCount, now: datetime) -> StoreLowest | SubtractLeftover | None:
    """What follows from a look at the count while the queue is empty; None: nothing."""
    low, since = count.low, count.low_at
    if low is None or since is None or now - since > _TOO_OLD:
        return StoreLowest(count.waiting, now)
    lowest = min(low, count.waiting)
    if now - since >= SENT_WITHIN:
        return SubtractLeftover(lowest)
    return StoreLowest(lowest, since) if lowest < low else None
