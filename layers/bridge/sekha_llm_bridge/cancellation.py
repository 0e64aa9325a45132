"""Runs work to its end although its caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sekha_llm_bridge.observability import code_location, logger

T = TypeVar("T")


async def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Runs the coroutine to completion even if the caller is cancelled: an outcome must be recorded, and a lease given
    back, also after the client has disconnected. Only for work that takes a short time.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled() and (failure := task.exception()) is not None:
            extra = {"code_location": code_location(failure)}
            logger().error("unexpected error while a request was ended", extra=extra)
        raise
