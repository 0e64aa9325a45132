"""Chat completions: a request in, the answer of the best model that can give it out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api import sse
from sekha_llm_bridge.api.app import bridge_of, deadline_of, json_response, note_receipt
from sekha_llm_bridge.api.chat_features import hears_or_speaks, unbounded, untranslatable, without_place
from sekha_llm_bridge.api.chat_request import EXTENSIONS, ChatRequest
from sekha_llm_bridge.api.images import image_needs
from sekha_llm_bridge.api.models import resolve_model
from sekha_llm_bridge.api.parsing import checked, json_object
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import CHAT_TASKS, Task
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.execution import Outcome
from sekha_llm_bridge.execution.executor import Call
from sekha_llm_bridge.pricing import TokenCount, count_chat, count_texts
from sekha_llm_bridge.providers import ChatAnswer, ChatCall
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.routing import Candidate, RouteRequest, plan
from sekha_llm_bridge.usage import Usage

_NOT_SENT = EXTENSIONS | {"model", "stream", "stream_options"}
_ANSWERING_TASKS = CHAT_TASKS | {Task.AUDIO}
_USUAL_ANSWER_TOKENS = 1024


async def complete(request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    body = await json_object(request)
    asked = checked(ChatRequest, body)
    sent = sent_on(body)
    prompt = counted(sent)
    wanted, call = route_request(asked, prompt, bridge), _call(asked, sent, prompt)
    watch = await bridge.breakers.watch()
    outcome = await bridge.executor.perform(
        plan(wanted, bridge.catalog, bridge.limits(watch)),
        call,
        deadline,
        watch,
        allow_fallback=asked.allow_fallback is not False,
    )
    note_receipt(request, outcome.receipt)
    return _respond(asked, chat_body(outcome, sent), outcome.receipt.headers())


def sent_on(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request goes to a provider."""
    return {key: value for key, value in body.items() if key not in _NOT_SENT}


def counted(sent: Mapping[str, Any]) -> TokenCount:
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
        needs_audio=hears_or_speaks(asked),
        needs_tools=bool(asked.tools or (asked.model_extra or {}).get("functions")),
        images=images,
        untranslatable=untranslatable(asked),
        unbounded=unbounded(asked),
        max_cost_usd=asked.max_cost,
        context_tokens=context_tokens,
    )


def chat_task(task: Task | None, alias: Task | None) -> Task | None:
    """The task that a chat is for. Raises `InvalidRequest` for one that is no chat."""
    for named, param in ((task, "task"), (alias, "model")):
        if named is not None and named not in _ANSWERING_TASKS:
            raise InvalidRequest(f"{param}: {named.value} is nothing that a chat completion can do", param=param)
    return task or alias


def _call(asked: ChatRequest, sent: Mapping[str, Any], prompt: TokenCount) -> Call[ChatAnswer]:
    """One attempt: the same request to whichever model's turn it is."""

    async def call(provider: Provider, candidate: Candidate, timeout_s: float) -> ChatAnswer:
        model = candidate.entry.model
        # The bound of the prompt: what a provider has no room for, it may cut off silently.
        images = prompt.images * candidate.entry.likely_image
        room = prompt.bound + images + min(candidate.quote.output_cap, asked.output_tokens or _USUAL_ANSWER_TOKENS)
        window = min(model.context_window, room)
        chat_call = ChatCall(model.model_id, sent, candidate.output_cap, window, candidate.price_ceiling)
        answer = await provider.chat(chat_call, timeout_s=timeout_s)
        return answer if answer.usage is not None else _estimated(answer, prompt)

    return call


def _estimated(answer: ChatAnswer, prompt: TokenCount) -> ChatAnswer:
    """The answer with the usage that its provider did not send."""
    texts = [str(choice["message"].get("content") or "") for choice in answer.body["choices"]]
    usage = Usage(prompt.estimate, count_texts(texts).estimate)
    return replace(answer, usage=usage, usage_is_estimated=True)


def _respond(asked: ChatRequest, body: dict[str, Any], headers: dict[str, str]) -> Response:
    if not asked.stream:
        return json_response(body, headers=headers)
    usage_asked = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    events = sse.whole(body, with_usage=usage_asked)
    return Response(events, headers={**headers, "cache-control": "no-cache"}, media_type="text/event-stream")


def chat_body(outcome: Outcome[ChatAnswer], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The answer in OpenAI's shape, complete for strict parsers, with the receipt."""
    given, notes = outcome.answer.body, list(outcome.receipt.notes)
    choices = [_choice(choice) for choice in given["choices"]]
    unsent = [] if outcome.candidate.entry.speaks_openai else without_place(sent)
    if unsent:
        notes.append(f"{outcome.receipt.provider_id} has no place for: {', '.join(unsent)}")
    if outcome.answer.usage_is_estimated:
        notes.append("the provider counted no tokens: usage and cost are estimates")
    return {
        **given,
        "object": "chat.completion",
        "model": outcome.receipt.model_id,
        "choices": choices,
        "usage": usage_body(outcome.answer),
        "bridge": {**outcome.receipt.public(), "notes": notes},
    }


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """`content` is text unless a tool is called; `finish_reason` is never null in a whole answer."""
    message = choice["message"]
    calls = message.get("tool_calls")
    if message.get("content") is None and not calls:
        message = {**message, "content": ""}
    finish = choice.get("finish_reason") or ("tool_calls" if calls else "stop")
    return {**choice, "message": message, "finish_reason": finish}


def usage_body(answer: ChatAnswer) -> dict[str, Any]:
    """The provider's own usage; where it sent none, an estimate that says so. Always three integers."""
    counted = _tokens(answer.usage or Usage(0))
    if answer.usage_is_estimated:
        return {**counted, "estimated": True}
    own = answer.body.get("usage") or {}
    total = own.get("total_tokens")
    is_own_total = isinstance(total, int) and not isinstance(total, bool) and total >= counted["prompt_tokens"]
    return {**own, **counted, **({"total_tokens": total} if is_own_total else {})}


def _tokens(usage: Usage) -> dict[str, int]:
    total = usage.prompt_tokens + usage.completion_tokens
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "total_tokens": total}
