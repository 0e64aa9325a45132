"""Correction of a count that stays above 0 although the queue is empty.

Two crashes leave a count too high: a sender that adds to the count and dies before it sends the records, and a drain
that deletes a message and dies before it subtracts the records. No other process subtracts these leftover records.

The count also includes records that a sender is about to send. A sender sends them within `MAX_SEND_DELAY`. So the
leftover is the lowest count that was seen with an empty queue, once it was first seen that long ago.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

MAX_SEND_DELAY = timedelta(seconds=330)
"""The longest time between adding records to the count and sending them: a function's longest run, with a margin."""

_MAX_AGE = timedelta(minutes=15)  # the queue may have filled up since an older observation


class PendingCount(NamedTuple):
    """A group's count of pending records, and the lowest count seen with an empty queue since `lowest_since`."""

    records: int
    lowest: int | None = None
    lowest_since: datetime | None = None


class StoreLowest(NamedTuple):
    """Store `lowest` as the lowest count; the first observation was at `since`."""

    lowest: int
    since: datetime


class SubtractLeftover(NamedTuple):
    """Subtract this number of leftover records from the count."""

    records: int


def reconcile_with_empty_queue(count: PendingCount, now: datetime) -> StoreLowest | SubtractLeftover | None:
    """Returns the correction for a count that is above 0 while the queue is empty; None if there is none yet."""
    if count.lowest is None or count.lowest_since is None or now - count.lowest_since > _MAX_AGE:
        return StoreLowest(count.records, now)
    lowest = min(count.lowest, count.records)
    if now - count.lowest_since >= MAX_SEND_DELAY:
        return SubtractLeftover(lowest)
    return StoreLowest(lowest, count.lowest_since) if lowest < count.lowest else None
