"""`POST /api/v1/route`: the planner itself, explaining what a request would do, without doing it."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.chat.request import ChatMessage, ChatRequest
from sekha_llm_bridge.api.chat.routing import chat_task, provider_request, route_request
from sekha_llm_bridge.api.embeddings.routing import embedding_route_request, pinned_embedding_model
from sekha_llm_bridge.api.error_response import error_response
from sekha_llm_bridge.api.fields import MaxCost, TaskName
from sekha_llm_bridge.api.models.listing import resolve_model
from sekha_llm_bridge.api.parsing import checked, json_object
from sekha_llm_bridge.api.request_state import bridge_of
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.errors import BridgeError, InvalidRequest
from sekha_llm_bridge.execution.attempts import usd
from sekha_llm_bridge.execution.plan_errors import require_candidates
from sekha_llm_bridge.pricing import TokenCount
from sekha_llm_bridge.routing import ConsideredModel, RoutePlan, RouteRequest

_USUAL_PROMPT = TokenCount(estimate=1000, bound=1000, least=1000)
_USUAL_OUTPUT_TOKENS = 500


class RouteQuestion(BaseModel):
    """What to plan for. Without `messages` or `input`: 1000 input and 500 output tokens.

    A chat's own request may be given as it is, without a `task`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    task: TaskName | None = None
    model: str | None = None
    preferred_model: str | None = None
    require_vision: StrictBool | None = None
    max_cost: MaxCost | None = None
    context_size: Annotated[int, Field(strict=True, ge=0)] | None = None
    messages: list[ChatMessage] | None = Field(None, min_length=1)
    input: str | list[str] | None = None
    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None


async def explain(request: Request) -> Response:
    """The first candidate, why it is first, and every other model with its place or its reason."""
    bridge = bridge_of(request)
    body = await json_object(request)
    question = checked(RouteQuestion, body)
    if question.task is None and question.messages is None:
        raise InvalidRequest("task: field required, unless there are `messages`", param="task")
    wanted = _route_request(question, body, bridge)
    plan = await bridge.service.explain(wanted)
    try:
        require_candidates(plan)
    except BridgeError as exc:
        return error_response(request, exc, details={"candidates": _rows(plan)})
    return json_response(_answer(plan))


def _route_request(question: RouteQuestion, body: dict[str, Any], bridge: Bridge) -> RouteRequest:
    """The same that the request itself would be planned by; without one, a usual request."""
    texts = [question.input] if isinstance(question.input, str) else question.input
    if question.task is Task.EMBEDDING:
        pinned = pinned_embedding_model(question.model, bridge)
        wanted = embedding_route_request(
            texts or (),
            pinned=pinned,
            preferred=question.preferred_model,
            max_cost=question.max_cost,
            context_tokens=question.context_size or 0,
            dimensions=question.dimensions,
        )
        return wanted if texts else replace(wanted, prompt=_USUAL_PROMPT)
    if texts and question.messages is None:
        body = {**body, "messages": [{"role": "user", "content": text} for text in texts]}
    if "messages" in body and body["messages"] is not None:
        fields = {key: value for key, value in body.items() if key not in {"context_size", "input"}}
        asked = checked(ChatRequest, {**fields, "task": question.task})
        return route_request(asked, provider_request(fields), bridge, context_tokens=question.context_size or 0)
    return _usual_request(question, bridge)


def _usual_request(question: RouteQuestion, bridge: Bridge) -> RouteRequest:
    pinned, alias = resolve_model(question.model, bridge.catalog)
    return RouteRequest(
        task=chat_task(question.task, alias),
        prompt=_USUAL_PROMPT,
        output_tokens=question.max_tokens or _USUAL_OUTPUT_TOKENS,
        pinned=pinned,
        preferred=question.preferred_model,
        needs_vision=bool(question.require_vision),
        max_cost_usd=question.max_cost,
        context_tokens=question.context_size or 0,
    )


def _answer(plan: RoutePlan) -> dict[str, Any]:
    first = plan.candidates[0]
    entry, quote = first.entry, first.quote
    return {
        "provider_id": entry.provider.id,
        "model_id": entry.model.model_id,
        # Always a number, for strict parsers; `price_known` tells a price of nothing from no known price.
        "estimated_cost": usd(quote.estimate_usd) or 0.0,
        "price_known": quote.estimate_usd is not None,
        "reason": plan.reason,
        "provider_type": entry.provider.provider_type.value,
        "notes": list(plan.notes),
        "candidates": _rows(plan),
    }


def _rows(plan: RoutePlan) -> list[dict[str, Any]]:
    return [_row(row) for row in plan.considered_models]


def _row(row: ConsideredModel) -> dict[str, Any]:
    return {
        "provider_id": row.entry.provider.id,
        "model_id": row.entry.model.model_id,
        "provider_type": row.entry.provider.provider_type.value,
        "priority": row.entry.provider.priority,
        "estimated_cost": usd(row.quote.estimate_usd),
        "cost_bound": usd(row.quote.bound_usd),
        "price_source": row.entry.price.source if row.entry.price else None,
        "circuit_breaker": row.breaker.value,
        "excluded": row.exclusion.reason if row.exclusion else None,
    }
