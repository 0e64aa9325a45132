"""A long sequence in consecutive pieces that somebody takes at once."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def split_into_batches(
    items: Sequence[T], size_of: Callable[[T], int], *, max_size: float, max_items: float
) -> Iterator[Sequence[T]]:
    """The items in order, in the fewest pieces of at most so many items and so much size together; an item that is too
    large has a piece to itself.
    """
    start = size = 0
    for at, item in enumerate(items):
        more = size_of(item)
        if at > start and (at - start == max_items or size + more > max_size):
            yield items[start:at]
            start, size = at, 0
        size += more
    if items:
        yield items[start:]
