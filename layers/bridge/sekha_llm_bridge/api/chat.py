"""Chat completions: a request in, the answer of the best model that can give it out."""

import secrets
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api import sse
from sekha_llm_bridge.api.app import bridge_of, deadline_of, json_response, note
from sekha_llm_bridge.api.chat_request import EXTENSIONS, ChatRequest
from sekha_llm_bridge.api.images import image_needs
from sekha_llm_bridge.api.models import resolve_model
from sekha_llm_bridge.api.parsing import checked, json_object
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.execution import Outcome
from sekha_llm_bridge.pricing import TokenCount, count_chat, count_texts
from sekha_llm_bridge.providers import ChatAnswer, ChatCall, Usage
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.routing import Candidate, RouteRequest, plan

_NOT_SENT = EXTENSIONS | {"model", "stream", "stream_options"}
_USUAL_ANSWER_TOKENS = 1024
# Fields that only OpenAI's own format can carry and whose absence would change the answer.
_OPENAI_ONLY = (
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "prediction",
    "web_search_options",
    "functions",
    "function_call",
    "audio",
)
_HARMLESS = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "parallel_tool_calls",
    "safety_identifier",
    "prompt_cache_key",
    "tool_choice",
    "n",
}


async def complete(request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    body = await json_object(request)
    asked = checked(ChatRequest, body)
    sent = {key: value for key, value in body.items() if key not in _NOT_SENT}
    prompt = count_chat(sent)
    wanted = route_request(asked, prompt, bridge)
    the_plan = plan(wanted, bridge.catalog, bridge.limits())

    async def call(provider: Provider, candidate: Candidate, timeout_s: float) -> ChatAnswer:
        model = candidate.entry.model
        # Twice the likely prompt: what a provider without room cuts off, it cuts off silently.
        room = 2 * prompt.estimate + min(candidate.quote.output_cap, asked.output_tokens or _USUAL_ANSWER_TOKENS)
        chat_call = ChatCall(model.model_id, sent, candidate.output_cap, min(model.context_window, room))
        return await provider.chat(chat_call, timeout_s=timeout_s)

    outcome = await bridge.executor.perform(the_plan, call, deadline, allow_fallback=asked.allow_fallback is not False)
    receipt = outcome.receipt
    note(
        request,
        provider=receipt.provider_id,
        model=receipt.model_id,
        attempts=len(receipt.attempts),
        cost_usd=str(receipt.cost),
    )
    answer = chat_body(outcome, prompt, bridge, unsent=_unsent(sent, outcome.candidate))
    if asked.stream:
        usage_asked = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        return Response(
            sse.whole(answer, with_usage=usage_asked),
            headers={**receipt.headers(), "cache-control": "no-cache"},
            media_type="text/event-stream",
        )
    return json_response(answer, headers=receipt.headers())


def route_request(asked: ChatRequest, prompt: TokenCount, bridge: Bridge, *, context_tokens: int = 0) -> RouteRequest:
    """What the request asks of a model. Raises `ModelNotFound`."""
    pinned, alias = resolve_model(asked.model, bridge.catalog)
    images = image_needs(asked.image_urls)
    sees = bridge.settings.routing.require_vision_for_images and images.count > 0
    return RouteRequest(
        task=asked.task or alias,
        prompt=prompt,
        output_tokens=asked.output_tokens,
        answers=asked.n or 1,
        pinned=pinned,
        preferred=asked.preferred_model,
        needs_vision=bool(asked.require_vision) or sees,
        needs_audio=any(part.type == "input_audio" for message in asked.messages for part in message.parts),
        needs_tools=bool(asked.tools),
        images=images,
        untranslatable=_untranslatable(asked),
        max_cost_usd=asked.max_cost,
        context_tokens=context_tokens,
    )


def _untranslatable(asked: ChatRequest) -> frozenset[str]:
    """What only a provider that speaks OpenAI's own format can do."""
    extra = asked.model_extra or {}
    found = {name for name in _OPENAI_ONLY if extra.get(name, getattr(asked, name, None))}
    if (asked.n or 1) > 1:
        found.add("n > 1")
    if asked.tools and (isinstance(asked.tool_choice, dict) or asked.tool_choice == "required"):
        found.add("forced tool_choice")
    kinds = {part.type for message in asked.messages for part in message.parts}
    found |= {f"content of type {kind}" for kind in kinds - {"text", "image_url"}}
    return frozenset(found)


def _unsent(sent: Mapping[str, Any], candidate: Candidate) -> list[str]:
    """Fields that the bridge does not know and that this provider's format has no place for."""
    if candidate.entry.speaks_openai:
        return []
    return sorted(set(sent) - set(ChatRequest.model_fields) - _HARMLESS - {"think", "keep_alive", "top_k", "min_p"})


def chat_body(outcome: Outcome[ChatAnswer], prompt: TokenCount, bridge: Bridge, *, unsent: list[str]) -> dict[str, Any]:
    """The answer in OpenAI's shape, complete for strict parsers, with the receipt."""
    given, receipt = outcome.answer.body, outcome.receipt.public()
    choices = [_choice(index, choice) for index, choice in enumerate(given["choices"])]
    if unsent:
        receipt["notes"] = [
            *outcome.receipt.notes,
            f"{outcome.receipt.provider_id} has no place for: {', '.join(unsent)}",
        ]
    return {
        **given,
        "id": given.get("id") or f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": given.get("created") or int(bridge.clock.now().timestamp()),
        "model": outcome.receipt.model_id,
        "choices": choices,
        "usage": usage_body(outcome.answer, prompt, choices),
        "bridge": receipt,
    }


def _choice(index: int, choice: Mapping[str, Any]) -> dict[str, Any]:
    """`content` is text unless a tool is called; `finish_reason` is never null in a whole answer."""
    message = {"role": "assistant", **choice["message"]}
    calls = message.get("tool_calls")
    if message.get("content") is None and not calls:
        message["content"] = ""
    finish = choice.get("finish_reason") or ("tool_calls" if calls else "stop")
    return {"index": index, **choice, "message": message, "finish_reason": finish}


def usage_body(answer: ChatAnswer, prompt: TokenCount, choices: list[dict[str, Any]]) -> dict[str, Any]:
    """The provider's own usage; where it sent none, an estimate that says so."""
    if answer.usage is not None:
        own = answer.body.get("usage") or {}
        missing = {name: count for name, count in _tokens(answer.usage).items() if not isinstance(own.get(name), int)}
        return {**own, **missing}
    texts = [str(choice["message"].get("content") or "") for choice in choices]
    return {**_tokens(Usage(prompt.estimate, count_texts(texts).estimate)), "estimated": True}


def _tokens(usage: Usage) -> dict[str, int]:
    total = usage.prompt_tokens + usage.completion_tokens
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "total_tokens": total}
