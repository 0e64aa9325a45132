"""Adds up what requests have used, from their log lines, which CloudWatch Logs delivers in batches.

It needs no configuration of providers, so it makes no bridge. A batch that is delivered again is not counted again.
"""

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sekha_llm_bridge.access.usage_records.log_batch import LogBatch, read_batch
from sekha_llm_bridge.access.usage_records.store import UsageStore, UsageUnavailable
from sekha_llm_bridge.aws.function_logs import quiet_libraries
from sekha_llm_bridge.aws.unknown_event import warn_of_unknown_event
from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.connections import Connections, new_event_loop
from sekha_llm_bridge.observability import logger

if TYPE_CHECKING:
    from sekha_llm_bridge.jobs.handler import LambdaContext

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_END_BEFORE_S = 3.0  # a call takes 2 s at most
# The system's source, because instances that add to the same item should not wait for the same time.
_SYSTEM_RANDOM = random.SystemRandom()


def log_handler() -> Callable[[dict[str, Any], "LambdaContext"], dict[str, Any]]:
    """Returns the Lambda handler. The event loop is kept, because connections belong to it.

    The handler answers an event that is no batch of log lines with a warning. It raises `ValueError` for a batch that
    cannot be read, so that the alarm on lost usage reports it.
    """
    quiet_libraries()
    clock = SystemClock()
    store = UsageStore(os.environ["STATE_TABLE"], Connections(clock), clock)
    loop = new_event_loop()

    def handler(event: Any, context: "LambdaContext") -> dict[str, Any]:
        if not isinstance(event, dict) or "awslogs" not in event:
            warn_of_unknown_event(event, context)
            return {"is_new": False}
        batch = read_batch(event)
        if batch is None or not batch.used:
            return {"is_new": False}
        remaining_s = context.get_remaining_time_in_millis() / 1000
        return {"is_new": loop.run_until_complete(add(batch, store, clock, remaining_s=remaining_s))}

    return handler


async def add(
    batch: LogBatch,
    store: UsageStore,
    clock: Clock,
    *,
    remaining_s: float,
    jitter: Callable[[], float] = _SYSTEM_RANDOM.random,
) -> bool:
    """Adds a batch to the table; returns whether it was not added before. Repeats what fails, because transactions of
    several instances on one item are refused; raises `UsageUnavailable` when the time is over. Then Lambda repeats the
    invocation.
    """
    ends_s = clock.monotonic_s() + remaining_s - _END_BEFORE_S
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await store.add(batch)
        except UsageUnavailable as exc:
            wait_s = pause_s * (0.5 + jitter())
            if clock.monotonic_s() + wait_s > ends_s:
                logger().error("usage not counted", extra={"reason": str(exc), "batch": batch.id})
                raise
        await clock.sleep(wait_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
