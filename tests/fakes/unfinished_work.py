"""Finds the tasks and async generators that a test has not finished."""

import asyncio
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


async def unfinished_work() -> list[object]:
    """Returns the tasks and async generators that have not finished, after unreferenced ones have had time to finish."""
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    generators = asyncio.get_running_loop()._asyncgens  # type: ignore[attr-defined]  # BaseEventLoop's
    return [*tasks, *(one for one in generators if one.ag_frame is not None)]


@contextmanager
def fast_garbage_collection() -> Iterator[None]:
    """Makes garbage collection fast inside the context, because it then examines only new objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ResourceWarnings from tests of other modules
        gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
