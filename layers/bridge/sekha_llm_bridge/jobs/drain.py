"""The scheduled drain of deferred writes: stores the vectors that Chroma could not take before."""

from dataclasses import asdict
from typing import Any

from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.bootstrap.background import make_drain
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.deferred_writes.drain import Drain
from sekha_llm_bridge.embeddings.deferred_writes.queue import QueueFailed
from sekha_llm_bridge.jobs.handler import Invocation
from sekha_llm_bridge.observability import logger

_MARGIN_S = 60.0  # for the message that is being stored when the time is up


async def run(bridge: Bridge, invocation: Invocation) -> dict[str, Any]:
    """Drains the queue until shortly before the invocation ends. See `drain`."""
    return await drain(make_drain(bridge), bridge.clock, for_s=invocation.remaining_s - _MARGIN_S)


async def drain(deferred_writes: Drain | None, clock: Clock, *, for_s: float) -> dict[str, Any]:
    """Stores deferred writes for at most `for_s` seconds. Returns the numbers of records. Raises `QueueFailed`."""
    if deferred_writes is None:
        return {"note": "no Chroma server, or no queue, is configured: there is nothing to store"}
    try:
        result = await deferred_writes.run(until_s=clock.monotonic_s() + for_s)
    except QueueFailed as exc:
        logger().warning("the queue of vectors cannot be read", extra={"reason": str(exc)})
        raise
    if result.stored or result.rejected or result.left:
        logger().info("deferred vector writes drained", extra=asdict(result))
    return asdict(result)
