"""What work on an event loop leaves behind when it should leave nothing."""

import asyncio
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


async def left_over() -> list[object]:
    """Tasks and async generators that nobody ends; what was dropped is given its turn to end."""
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    generators = asyncio.get_running_loop()._asyncgens  # type: ignore[attr-defined]  # BaseEventLoop's
    return [*tasks, *(one for one in generators if one.ag_frame is not None)]


@contextmanager
def quick_collections() -> Iterator[None]:
    """Looking for what was left over is quick meanwhile: only what is new is looked through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other modules' tests left
        gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
