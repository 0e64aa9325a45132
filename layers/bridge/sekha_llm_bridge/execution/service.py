"""The service that every inbound API calls: plans a request by the providers' current state, and runs the plan."""

from dataclasses import replace
from typing import Protocol, TypeVar

from sekha_llm_bridge.config.models import RoutingConfig
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.execution.attempts import AttemptLog
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.executor import A, ExecutionResult, Executor, Operation
from sekha_llm_bridge.execution.streamed_answer import S, StreamedAnswer
from sekha_llm_bridge.execution.token_counts import TokenCounts
from sekha_llm_bridge.resilience import Breakers, BreakerSession, Cooldowns, UnsupportedFeatures
from sekha_llm_bridge.routing import Catalog, RoutePlan, RouteRequest, RoutingContext, models_to_count, plan

T_co = TypeVar("T_co", covariant=True)


class RoutedOperation(Operation[T_co], Protocol[T_co]):
    """An operation, and what it requires of a model."""

    @property
    def route(self) -> RouteRequest:
        """The requirements of the request."""
        ...

    @property
    def conversation(self) -> Conversation | None:
        """The conversation of a chat; None for other requests."""
        ...


class ModelService:
    """Plans and runs operations. `explain` and the other methods plan in the same way, with the same breakers."""

    def __init__(
        self,
        routing: RoutingConfig,
        catalog: Catalog,
        breakers: Breakers,
        cooldowns: Cooldowns,
        unsupported: UnsupportedFeatures,
        executor: Executor,
        token_counts: TokenCounts,
    ) -> None:
        self._routing = routing
        self._catalog = catalog
        self._breakers = breakers
        self._cooldowns = cooldowns
        self._unsupported = unsupported
        self._executor = executor
        self._token_counts = token_counts

    async def explain(
        self, route: RouteRequest, deadline: Deadline, conversation: Conversation | None = None
    ) -> RoutePlan:
        """Returns the plan for a request, without running it."""
        return (await self._plan(route, deadline, conversation))[0]

    async def run(
        self, operation: RoutedOperation[A], deadline: Deadline, log: AttemptLog, *, allow_fallback: bool = True
    ) -> ExecutionResult[A]:
        """Returns the answer of the first candidate that gives a usable one. See `Executor.run`."""
        planned, session = await self._plan(operation.route, deadline, operation.conversation)
        return await self._executor.run(planned, operation, deadline, session, log, allow_fallback=allow_fallback)

    async def stream(
        self, operation: RoutedOperation[S], deadline: Deadline, log: AttemptLog, *, allow_fallback: bool = True
    ) -> StreamedAnswer[S]:
        """Returns an answer in chunks when its first token has arrived. See `Executor.stream`."""
        planned, session = await self._plan(operation.route, deadline, operation.conversation)
        return await self._executor.stream(planned, operation, deadline, session, log, allow_fallback=allow_fallback)

    async def _plan(
        self, route: RouteRequest, deadline: Deadline, conversation: Conversation | None
    ) -> tuple[RoutePlan, BreakerSession]:
        """Returns the plan, and the breakers by which it was made. Where it depends on how many tokens the prompt has,
        providers that can are asked to count them, and the plan is made again.
        """
        session = await self._breakers.session()
        context = RoutingContext(
            cost_aware=self._routing.cost_aware,
            max_cost_usd=self._routing.configured_max_cost_usd,
            default_max_cost_usd=self._routing.default_max_cost_usd,
            max_output_tokens=self._routing.max_output_tokens,
            min_output_tokens=self._routing.min_output_tokens,
            breakers=session.views(),
            cooldowns_s=self._cooldowns.remaining_s(),
            unsupported=self._unsupported.current(),
        )
        planned = plan(route, self._catalog, context)
        if conversation is not None and (entries := models_to_count(planned)):
            counts = await self._token_counts.count(entries, conversation, remaining_s=deadline.remaining_s())
            if counts:
                planned = plan(replace(route, exact_prompt_tokens=counts), self._catalog, context)
        return planned, session
