"""Splits a long sequence into batches of a limited size."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def split_into_batches(
    items: Sequence[T], size_of: Callable[[T], int], *, max_size: float, max_items: float
) -> Iterator[Sequence[T]]:
    """Returns the items in order, in batches of at most `max_items` items and a total size of at most `max_size`.

    Each batch is as long as the limits allow. An item larger than `max_size` is a batch of its own.
    """
    start = batch_size = 0
    for at, item in enumerate(items):
        item_size = size_of(item)
        if at > start and (at - start == max_items or batch_size + item_size > max_size):
            yield items[start:at]
            start, batch_size = at, 0
        batch_size += item_size
    if items:
        yield items[start:]
