"""Keeps memory constant, however many pages are read."""

import gc
from collections.abc import Iterable, Iterator
from typing import TypeVar

Page = TypeVar("Page")

_PAGES_BETWEEN = 8


def with_garbage_collection(pages: Iterable[Page]) -> Iterator[Page]:
    """Returns the pages, and runs the garbage collector after every eight of them.

    The HTTP client leaves each response in a reference cycle: megabytes in a few objects. The collector runs by the
    number of objects, so without this it would run too late.
    """
    for number, page in enumerate(pages, 1):
        yield page
        if number % _PAGES_BETWEEN == 0:
            gc.collect()
