"""The service that every inbound API calls: plans a request by the providers' current state, and runs the plan."""

import copy
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple, Protocol, Self, TypeVar

from sekha_llm_bridge.access.caller import BudgetLimit, Caller
from sekha_llm_bridge.config.models import CHAT_TASKS, RoutingConfig
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import NotAllowed
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.executor import A, ExecutionResult, Executor, Operation
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.execution.served_prefixes import MIN_PROMPT_TOKENS, ServedPrefixes, prefix_key
from sekha_llm_bridge.execution.streamed_answer import S, StreamedAnswer
from sekha_llm_bridge.execution.token_counts import TokenCounts
from sekha_llm_bridge.providers import capabilities_of
from sekha_llm_bridge.resilience import Breakers, BreakerSession, Cooldowns, UnsupportedFeatures
from sekha_llm_bridge.routing import Candidate, RoutePlan, RouteRequest, RoutingContext, models_to_count, plan
from sekha_llm_bridge.routing.key_catalogs import KeyCatalogs

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


class PromptCount(NamedTuple):
    """The number of a prompt's tokens. The ids are those of the model that would answer first; None: none would."""

    tokens: int
    is_estimated: bool
    provider_id: str | None = None
    model_id: str | None = None


class Planned(NamedTuple):
    """A plan, the breakers by which it was made, and the hash of the prompt's beginning; None where it does not matter
    which model answers.
    """

    plan: RoutePlan
    session: BreakerSession
    prefix: bytes | None


class ModelService:
    """Plans and runs operations. `explain` and the other methods plan in the same way, with the same breakers."""

    def __init__(
        self,
        routing: RoutingConfig,
        catalogs: KeyCatalogs,
        breakers: Breakers,
        cooldowns: Cooldowns,
        unsupported: UnsupportedFeatures,
        executor: Executor,
        token_counts: TokenCounts,
        served_prefixes: ServedPrefixes,
    ) -> None:
        self._routing = routing
        self._catalogs = catalogs
        self._breakers = breakers
        self._cooldowns = cooldowns
        self._unsupported = unsupported
        self._executor = executor
        self._token_counts = token_counts
        self._served_prefixes = served_prefixes

    def with_catalogs(self, catalogs: KeyCatalogs) -> Self:
        """Returns the same service for other models."""
        other = copy.copy(self)
        other._catalogs = catalogs  # noqa: SLF001 — of this class
        return other

    async def explain(
        self,
        route: RouteRequest,
        deadline: Deadline,
        conversation: Conversation | None = None,
        *,
        inbound: InboundRequest,
    ) -> RoutePlan:
        """Returns the plan for a request, without running it. Budgets are read for it: a request that runs notices when
        it reserves that they are spent.
        """
        budget = None if inbound.spending is None else await inbound.spending.budget_left()
        return (await self._plan(route, deadline, conversation, inbound.caller, budget)).plan

    async def run(
        self, operation: RoutedOperation[A], deadline: Deadline, inbound: InboundRequest, *, allow_fallback: bool = True
    ) -> ExecutionResult[A]:
        """Returns the answer of the first candidate that gives a usable one. See `Executor.run`."""
        planned, session, prefix = await self._plan(
            operation.route, deadline, operation.conversation, inbound.caller, _budget(inbound)
        )
        result = await self._executor.run(planned, operation, deadline, session, inbound, allow_fallback=allow_fallback)
        self._remember(prefix, result.candidate)
        return result

    async def stream(
        self, operation: RoutedOperation[S], deadline: Deadline, inbound: InboundRequest, *, allow_fallback: bool = True
    ) -> StreamedAnswer[S]:
        """Returns an answer in chunks when its first token has arrived. See `Executor.stream`."""
        planned, session, prefix = await self._plan(
            operation.route, deadline, operation.conversation, inbound.caller, _budget(inbound)
        )
        answer = await self._executor.stream(
            planned, operation, deadline, session, inbound, allow_fallback=allow_fallback
        )
        self._remember(prefix, answer.candidate)
        return answer

    def _remember(self, prefix: bytes | None, candidate: Candidate) -> None:
        if prefix is not None:
            self._served_prefixes.add(prefix, candidate.entry.key)

    async def count_tokens(
        self, route: RouteRequest, deadline: Deadline, conversation: Conversation, *, inbound: InboundRequest
    ) -> PromptCount:
        """Returns the number of a prompt's tokens with the model that would answer first: as its provider counts them
        by a free request, else as the bridge estimates them. Nothing is reserved or billed.
        """
        planned = (await self._plan(route, deadline, None, inbound.caller, None)).plan
        if not planned.ranked:
            return PromptCount(route.prompt.estimate, is_estimated=True)
        first = planned.ranked[0]
        counted: int | None = None
        if capabilities_of(first.provider.provider_type).counts_tokens:  # no limit relies on it: any server may count
            counted = await self._token_counts.count_as_sent(first, conversation, remaining_s=deadline.remaining_s())
        estimate = route.prompt.estimate + route.prompt.images * first.estimated_image_tokens
        return PromptCount(estimate if counted is None else counted, counted is None, *first.key)

    async def _plan(
        self,
        route: RouteRequest,
        deadline: Deadline,
        conversation: Conversation | None,
        caller: Caller,
        budget: BudgetLimit | None,
    ) -> Planned:
        """Returns the plan, and by what it was made. Where it depends on how many tokens the prompt has, providers that
        can are asked to count them, and the plan is made again.
        """
        _require_allowed(route, caller)
        session, catalog = await self._breakers.session(), self._catalogs.of(caller.policy)
        matters = len(catalog.usable[route.task]) > 1 and route.prompt.estimate >= MIN_PROMPT_TOKENS
        prefix = prefix_key(conversation) if conversation is not None and matters else None
        # The default is for requests that nobody else limits: the operator has chosen what this key may cost.
        is_chosen = budget is not None or caller.policy.max_cost_per_request_usd is not None
        context = RoutingContext(
            cost_aware=self._routing.cost_aware,
            max_cost_usd=_smallest(self._routing.configured_max_cost_usd, caller.policy.max_cost_per_request_usd),
            default_max_cost_usd=None if is_chosen else self._routing.default_max_cost_usd,
            budget=budget,
            max_output_tokens=self._routing.max_output_tokens,
            min_output_tokens=self._routing.min_output_tokens,
            breakers=session.views(),
            cooldowns_s=self._cooldowns.remaining_s(),
            unsupported=self._unsupported.current(),
            served_before=None if prefix is None else self._served_prefixes.model(prefix),
        )
        planned = plan(route, catalog, context)
        if conversation is not None and (entries := models_to_count(planned)):
            counts = await self._token_counts.count(entries, conversation, remaining_s=deadline.remaining_s())
            if counts:
                planned = plan(replace(route, exact_prompt_tokens=counts), catalog, context)
        return Planned(planned, session, prefix)


def _budget(inbound: InboundRequest) -> BudgetLimit | None:
    """Returns the smallest whole budget as a limit: what cannot be bounded by it cannot be reserved."""
    return None if inbound.spending is None else inbound.spending.whole_budget()


def _smallest(*limits: Decimal | None) -> Decimal | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _require_allowed(route: RouteRequest, caller: Caller) -> None:
    """Raises `NotAllowed` for a task that the key may not use."""
    tasks = caller.policy.tasks
    wanted = CHAT_TASKS if route.task is None else {route.task}
    if tasks and not wanted & set(tasks):
        task = "a chat" if route.task is None else route.task.value
        allowed = ", ".join(task.value for task in tasks)
        raise NotAllowed(f"this API key may not use the task {task}; it may use: {allowed}", param="task")
