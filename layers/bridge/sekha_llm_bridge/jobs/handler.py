"""The entry point of every scheduled function: one bridge and one event loop, kept between invocations."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from sekha_llm_bridge.aws.function_logs import quiet_libraries
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.bootstrap.live import live_bridge
from sekha_llm_bridge.config.secret_source import SecretUse
from sekha_llm_bridge.connections import new_event_loop
from sekha_llm_bridge.errors import ConfigError, ConfigUnavailable

_MAX_WAIT_S = 5.0  # for secrets: nobody waits for a job


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


def scheduled_handler(
    job: Job, *, secrets: SecretUse = SecretUse.NONE, uses_models: bool = True, uses_vectors: bool = False
) -> Handler:
    """Returns the Lambda handler that runs `job`. `secrets` are the stored secrets that it reads; a job that
    `uses_models` gets the last lists of providers with `models: auto`. The bridge is made now, in Lambda's init phase,
    and what stores vectors with it where the job uses it. The event loop is kept, because connections belong to it. A
    job runs for every event, because running it once more does no harm; one that reads the event refuses what it does
    not know.

    Raises `ConfigError` when the configuration cannot be used; when it only waits for a secret, the next run tries
    again.
    """
    quiet_libraries()
    live = live_bridge(secrets)
    if isinstance(live.current, ConfigError) and not isinstance(live.current, ConfigUnavailable):
        raise live.current
    if uses_vectors and isinstance(live.current, Bridge):
        live.current.vectors()
    loop = new_event_loop()

    async def run(invocation: Invocation) -> dict[str, Any]:
        found = await live.before_request(max_wait_s=_MAX_WAIT_S, uses_models=uses_models)
        if isinstance(found, ConfigError):
            raise found
        return await job(found, invocation)

    def handler(event: object, context: LambdaContext) -> dict[str, Any]:
        return loop.run_until_complete(run(Invocation(event, context)))

    return handler
