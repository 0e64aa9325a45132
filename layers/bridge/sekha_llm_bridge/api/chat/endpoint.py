"""Chat completions: a request in, the answer of the best model that can give it out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import (
    LONGEST_SILENCE_S,
    add_log_fields,
    bridge_of,
    deadline_of,
    json_response,
    log_receipt,
)
from sekha_llm_bridge.api.chat.features import features_with_unbounded_cost, requested_features, uses_audio
from sekha_llm_bridge.api.chat.images import image_needs
from sekha_llm_bridge.api.chat.request import EXTENSIONS, ChatRequest
from sekha_llm_bridge.api.chat.response import chat_body
from sekha_llm_bridge.api.chat.stream import ChatStreamWriter
from sekha_llm_bridge.api.models.listing import resolve_model
from sekha_llm_bridge.api.parsing import checked, json_object
from sekha_llm_bridge.api.sse import EventResponse
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import CHAT_TASKS, Task
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.execution import Deadline
from sekha_llm_bridge.execution.chunk_stream import ChunkStream
from sekha_llm_bridge.execution.executor import Call
from sekha_llm_bridge.pricing import TokenCount, count_chat, count_texts
from sekha_llm_bridge.providers import ChatAnswer, ChatCall
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.resilience import BreakerSession
from sekha_llm_bridge.routing import Candidate, RoutePlan, RouteRequest, plan
from sekha_llm_bridge.usage import Usage

_NOT_SENT = EXTENSIONS | {"model", "stream", "stream_options"}
_ANSWERING_TASKS = CHAT_TASKS | {Task.AUDIO}
_USUAL_ANSWER_TOKENS = 1024
_LONGEST_STREAM_S = 890.0  # API Gateway gives up after fifteen minutes, of which a cold start takes its part
_LAST_WORDS_S = 0.5  # of the deadline's margin: for telling that it has passed


async def complete(request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    deadline = deadline_of(request)
    body = await json_object(request)
    asked = checked(ChatRequest, body)
    answer = _streamed if asked.stream else _at_once
    return await answer(request, asked, provider_request(body), deadline)


async def _at_once(request: Request, asked: ChatRequest, sent: dict[str, Any], deadline: Deadline) -> Response:
    bridge, prompt = bridge_of(request), count_prompt(sent)
    planned, watch = await _planned(asked, prompt, bridge)
    outcome = await bridge.executor.run_plan(
        planned,
        _calling(asked, sent, prompt),
        deadline.at_most(LONGEST_SILENCE_S),
        watch,
        allow_fallback=asked.may_fall_back,
    )
    log_receipt(request, outcome.receipt)
    return json_response(chat_body(outcome, sent), headers=outcome.receipt.headers())


async def _streamed(request: Request, asked: ChatRequest, sent: dict[str, Any], deadline: Deadline) -> Response:
    add_log_fields(request, stream=True)
    bridge, prompt, limit = bridge_of(request), count_prompt(sent), deadline.at_most(_LONGEST_STREAM_S)
    planned, watch = await _planned(asked, prompt, bridge)
    call = _streaming(asked, sent, prompt)
    answer = bridge.executor.stream(planned, call, limit, watch, allow_fallback=asked.may_fall_back)
    telling = ChatStreamWriter(request, answer, sent, with_usage=asked.wants_usage)
    return EventResponse(telling.produce, bridge.clock, limit_s=limit.remaining_s() + _LAST_WORDS_S)


async def _planned(asked: ChatRequest, prompt: TokenCount, bridge: Bridge) -> tuple[RoutePlan, BreakerSession]:
    """The plan, and the breakers that it was made by."""
    wanted = route_request(asked, prompt, bridge)
    watch = await bridge.breakers.session()
    return plan(wanted, bridge.catalog, bridge.limits(watch)), watch


def provider_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request goes to a provider."""
    return {key: value for key, value in body.items() if key not in _NOT_SENT}


def count_prompt(sent: Mapping[str, Any]) -> TokenCount:
    """The tokens of what is sent on. Raises `InvalidRequest` for what could not be sent."""
    try:
        return count_chat(sent)
    except TypeError:
        raise InvalidRequest("the body is nested too deeply") from None


def route_request(asked: ChatRequest, prompt: TokenCount, bridge: Bridge, *, context_tokens: int = 0) -> RouteRequest:
    """What the request asks of a model. Raises `ModelNotFound`, `InvalidRequest`."""
    pinned, alias = resolve_model(asked.model, bridge.catalog)
    images = image_needs(asked.image_urls)
    sees = bridge.settings.routing.require_vision_for_images and images.count > 0
    return RouteRequest(
        task=chat_task(asked.task, alias),
        prompt=prompt,
        output_tokens=asked.output_tokens,
        answers=asked.n or 1,
        pinned=pinned,
        preferred=asked.preferred_model,
        needs_vision=bool(asked.require_vision) or sees,
        needs_audio=uses_audio(asked),
        needs_tools=bool(asked.tools or (asked.model_extra or {}).get("functions")),
        images=images,
        requested_features=requested_features(asked),
        features_with_unbounded_cost=features_with_unbounded_cost(asked),
        max_cost_usd=asked.max_cost,
        context_tokens=context_tokens,
    )


def chat_task(task: Task | None, alias: Task | None) -> Task | None:
    """The task that a chat is for. Raises `InvalidRequest` for one that is no chat."""
    for named, param in ((task, "task"), (alias, "model")):
        if named is not None and named not in _ANSWERING_TASKS:
            raise InvalidRequest(f"{param}: {named.value} is nothing that a chat completion can do", param=param)
    return task or alias


def _calling(asked: ChatRequest, sent: Mapping[str, Any], prompt: TokenCount) -> Call[ChatAnswer]:
    """One attempt: the same request to whichever model's turn it is."""

    async def call(provider: Provider, candidate: Candidate, timeout_s: float) -> ChatAnswer:
        answer = await provider.chat(_chat_call(asked, sent, prompt, candidate), timeout_s=timeout_s)
        return answer if answer.usage is not None else _estimated(answer, prompt)

    return call


def _streaming(asked: ChatRequest, sent: Mapping[str, Any], prompt: TokenCount) -> Call[ChunkStream]:
    """The same for an answer in chunks, up to its first token."""
    options = {} if asked.stream_options is None else {"stream_options": asked.stream_options.model_dump()}

    async def call(provider: Provider, candidate: Candidate, timeout_s: float) -> ChunkStream:
        chat_call = _chat_call(asked, {**sent, **options}, prompt, candidate)
        return await ChunkStream.begun(provider.stream(chat_call, timeout_s=timeout_s), prompt)

    return call


def _chat_call(asked: ChatRequest, sent: Mapping[str, Any], prompt: TokenCount, candidate: Candidate) -> ChatCall:
    model = candidate.entry.model
    # The bound of the prompt: what a provider has no room for, it may cut off silently.
    images = prompt.images * candidate.entry.estimated_image_tokens
    room = prompt.bound + images + min(candidate.quote.output_cap, asked.output_tokens or _USUAL_ANSWER_TOKENS)
    window = min(model.context_window, room)
    return ChatCall(model.model_id, sent, candidate.output_cap, window, candidate.price_ceiling)


def _estimated(answer: ChatAnswer, prompt: TokenCount) -> ChatAnswer:
    """The answer with the usage that its provider did not send."""
    texts = [str(choice["message"].get("content") or "") for choice in answer.body["choices"]]
    usage = Usage(prompt.estimate, count_texts(texts).estimate)
    return replace(answer, usage=usage, usage_is_estimated=True)
