"""`POST /api/v1/route`: the plan for a request, explained by the planner itself, without running it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.chat.request import KNOWN_FIELDS, ChatMessage, ChatRequest
from sekha_llm_bridge.api.chat.routing import chat_input
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS
from sekha_llm_bridge.api.conversations.routing import chat_task, route_request
from sekha_llm_bridge.api.embeddings.request import KNOWN_FIELDS as KNOWN_EMBEDDING_FIELDS
from sekha_llm_bridge.api.embeddings.routing import embedding_route_request, embedding_target
from sekha_llm_bridge.api.error_response import error_response
from sekha_llm_bridge.api.fields import MaxCost, TaskName
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import bridge_of, deadline_of, inbound_of
from sekha_llm_bridge.api.unknown_fields import check_misspelt_fields
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import BridgeError, InvalidRequest
from sekha_llm_bridge.execution.attempts import usd
from sekha_llm_bridge.execution.plan_errors import require_candidates
from sekha_llm_bridge.pricing import TokenCount
from sekha_llm_bridge.routing import ConsideredModel, RoutePlan, RouteRequest
from sekha_llm_bridge.routing.names import resolve_model, resolve_preferred

_DEFAULT_PROMPT = TokenCount(estimate=1000, bound=1000, minimum=1000)
_DEFAULT_OUTPUT_TOKENS = 500


class ExplainRequest(BaseModel):
    """What to plan. Without `messages` or `input`, the request has 1000 input and 500 output tokens.

    A chat's own request may be sent as it is, without a `task`.
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


_KNOWN_FIELDS = KNOWN_FIELDS | ExplainRequest.model_fields.keys()
_NOT_FOR_EMBEDDINGS = ExplainRequest.model_fields.keys() | OPTION_FIELDS | KNOWN_EMBEDDING_FIELDS


async def explain(request: Request) -> Response:
    """Answers with the first candidate, the reason for it, and every other model with its place or its exclusion."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    body = await json_object(request)
    explained = validated(ExplainRequest, body)
    check_misspelt_fields(body, _KNOWN_FIELDS, own=OPTION_FIELDS | {"context_size"})
    if explained.task is None and explained.messages is None:
        raise InvalidRequest("task: field required, unless there are `messages`", param="task")
    route, conversation = _route_request(explained, body, bridge, request.headers)
    plan = await bridge.service.explain(route, deadline, conversation, inbound=inbound_of(request))
    try:
        require_candidates(plan)
    except BridgeError as exc:
        return error_response(request, exc, details={"candidates": _rows(plan)})
    return json_response(_answer(plan))


def _route_request(
    explained: ExplainRequest, body: dict[str, Any], bridge: Bridge, headers: Mapping[str, str]
) -> tuple[RouteRequest, Conversation | None]:
    """Returns what the request itself would be planned by, with the conversation of a chat; without a request, a
    default one.
    """
    texts = [explained.input] if isinstance(explained.input, str) else explained.input
    if explained.task is Task.EMBEDDING:
        route = embedding_route_request(
            texts or (),
            target=embedding_target(explained.model, bridge),
            preferred=resolve_preferred(explained.preferred_model, bridge.catalog),
            max_cost=explained.max_cost,
            context_tokens=explained.context_size or 0,
            dimensions=explained.dimensions,
            vendor_fields={name: body[name] for name in body.keys() - _NOT_FOR_EMBEDDINGS},
        )
        return route if texts else replace(route, prompt=_DEFAULT_PROMPT), None
    if texts and explained.messages is None:
        body = {**body, "messages": [{"role": "user", "content": text} for text in texts]}
    if "messages" in body and body["messages"] is not None:
        fields = {key: value for key, value in body.items() if key not in {"context_size", "input"}}
        chat = validated(ChatRequest, {**fields, "task": explained.task})
        parsed = chat_input(chat, fields, bridge.settings, headers)
        context_tokens = explained.context_size or 0
        route = route_request(parsed.conversation, parsed.options, bridge, context_tokens=context_tokens)
        return route, parsed.conversation
    return _default_request(explained, bridge), None


def _default_request(explained: ExplainRequest, bridge: Bridge) -> RouteRequest:
    target = resolve_model(explained.model, bridge.catalog)
    return RouteRequest(
        task=chat_task(explained.task, target.task),
        prompt=_DEFAULT_PROMPT,
        output_tokens=explained.max_tokens or _DEFAULT_OUTPUT_TOKENS,
        named=target.models,
        is_pinned=target.is_pinned,
        preferred=resolve_preferred(explained.preferred_model, bridge.catalog),
        needs_vision=bool(explained.require_vision),
        max_cost_usd=explained.max_cost,
        context_tokens=explained.context_size or 0,
    )


def _answer(plan: RoutePlan) -> dict[str, Any]:
    first = plan.candidates[0]
    entry, quote = first.entry, first.quote
    return {
        "provider_id": entry.provider.id,
        "model_id": entry.model.model_id,
        # Always a number, for strict parsers; `price_known` distinguishes a price of 0 from an unknown price.
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
