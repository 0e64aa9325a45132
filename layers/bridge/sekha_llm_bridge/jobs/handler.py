"""The entry point of every scheduled function: one bridge and one event loop, kept between invocations."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from sekha_llm_bridge.bootstrap import Bridge, bridge
from sekha_llm_bridge.connections import new_event_loop


class LambdaContext(Protocol):
    """The part of Lambda's context that jobs use."""

    def get_remaining_time_in_millis(self) -> int:
        """Returns the milliseconds until Lambda ends the invocation."""
        ...


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation: the event, and the time that is left."""

    event: object
    context: LambdaContext

    @property
    def remaining_s(self) -> float:
        """Seconds until Lambda ends the invocation."""
        return self.context.get_remaining_time_in_millis() / 1000


Job = Callable[[Bridge, Invocation], Coroutine[Any, Any, dict[str, Any]]]
Handler = Callable[[object, LambdaContext], dict[str, Any]]


def scheduled_handler(job: Job, *, uses_vectors: bool = False) -> Handler:
    """Returns the Lambda handler that runs `job`. The bridge is made now, in Lambda's init phase, and what stores
    vectors with it where the job uses it. The event loop is kept, because connections belong to it.

    Raises `ConfigError` when the configuration cannot be used.
    """
    made = bridge()
    if uses_vectors:
        made.vectors()
    loop = new_event_loop()

    def handler(event: object, context: LambdaContext) -> dict[str, Any]:
        return loop.run_until_complete(job(made, Invocation(event, context)))

    return handler
