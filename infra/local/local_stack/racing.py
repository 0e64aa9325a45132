"""Waiting for work that is only worth doing while somebody is there to take its result."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def until_lost(
    work: Coroutine[object, object, T], lost: Coroutine[object, object, object], *, timeout_s: float | None = None
) -> T:
    """Returns what `work` returns; when `lost` ends before that, cancels `work` and raises ConnectionResetError.

    Raises TimeoutError when `timeout_s` have passed. Work that is done by then always counts.
    """
    working, losing = asyncio.ensure_future(work), asyncio.ensure_future(lost)
    try:
        done, _ = await asyncio.wait({working, losing}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            return working.result()
        raise ConnectionResetError("nobody waits for it any more") if done else TimeoutError
    finally:
        working.cancel()
        losing.cancel()
        await asyncio.gather(working, losing, return_exceptions=True)
