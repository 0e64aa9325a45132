"""Memory that stays the same however many pages pass through."""

import gc
from collections.abc import Iterable, Iterator
from typing import TypeVar

Page = TypeVar("Page")

_PAGES_BETWEEN = 8


def collecting_garbage(pages: Iterable[Page]) -> Iterator[Page]:
    """Hands the pages on, and has the garbage collector run after every few of them.

    The HTTP client leaves each answer in a cycle of references: megabytes, in so few objects that the collector, which
    counts objects, lets them pile up.
    """
    for number, page in enumerate(pages, 1):
        yield page
        if number % _PAGES_BETWEEN == 0:
            gc.collect()
