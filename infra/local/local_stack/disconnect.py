"""Cancels work when the client that waits for its result disconnects."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def run_until_disconnect(
    work: Coroutine[object, object, T],
    disconnected: Coroutine[object, object, object],
    *,
    timeout_s: float | None = None,
) -> T:
    """Returns the result of `work`.

    When `disconnected` ends first, it cancels `work` and raises ConnectionResetError; after `timeout_s` seconds it
    cancels `work` and raises TimeoutError. If both end at the same time, the result of `work` is returned.
    """
    working, disconnecting = asyncio.ensure_future(work), asyncio.ensure_future(disconnected)
    try:
        done, _ = await asyncio.wait({working, disconnecting}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            return working.result()
        raise ConnectionResetError("the receiver has disconnected") if done else TimeoutError
    finally:
        working.cancel()
        disconnecting.cancel()
        await asyncio.gather(working, disconnecting, return_exceptions=True)
