"""The scheduled drain: stores the vectors that wait, as soon as Chroma takes them again."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from sekha_llm_bridge.bootstrap import Bridge, bridge
from sekha_llm_bridge.embeddings.deferred_writes.queue import QueueFailed
from sekha_llm_bridge.observability import logger

_MARGIN_S = 60.0  # for the message that is under way


class Context(Protocol):
    """What Lambda tells of an invocation, as far as it matters here."""

    def get_remaining_time_in_millis(self) -> int:
        """How long it may go on."""
        ...


async def drain(bridge: Bridge, *, for_s: float) -> dict[str, Any]:
    """Stores what waits, for so many seconds; returns what was done, in records."""
    waiting = bridge.vectors().drain
    if waiting is None:
        return {"note": "no Chroma server, or no queue, is configured: nothing can wait"}
    try:
        done = await waiting.run(until_s=bridge.clock.monotonic_s() + for_s)
    except QueueFailed as exc:
        logger().warning("the queue of vectors cannot be read", extra={"reason": str(exc)})
        raise
    if done.stored or done.rejected or done.left:
        logger().info("waiting vectors", extra=asdict(done))
    return asdict(done)


def scheduled_handler() -> Callable[[object, Context], dict[str, Any]]:
    """The function's entry point; its event loop is kept, because connections belong to it.

    Raises `ConfigError` in Lambda's init phase when the configuration cannot be used.
    """
    made = bridge()
    made.vectors()
    loop = asyncio.new_event_loop()

    def handler(_event: object, context: Context) -> dict[str, Any]:
        left_s = context.get_remaining_time_in_millis() / 1000
        return loop.run_until_complete(drain(made, for_s=left_s - _MARGIN_S))

    return handler
