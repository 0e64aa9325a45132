"""What a chat request requires of a model, and what of it is sent to a provider."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat.features import features_with_unbounded_cost, requested_features, uses_audio
from sekha_llm_bridge.api.chat.images import image_needs
from sekha_llm_bridge.api.chat.operators_limits import check_operators_limits
from sekha_llm_bridge.api.chat.request import KNOWN_FIELDS, ChatRequest
from sekha_llm_bridge.api.fields import CHAT_EXTENSIONS
from sekha_llm_bridge.api.unknown_fields import check_unknown_fields
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import CHAT_TASKS, Task
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.pricing import TokenCount, count_chat
from sekha_llm_bridge.providers import gateway_fields
from sekha_llm_bridge.routing import RouteRequest
from sekha_llm_bridge.routing.names import resolve_model, resolve_preferred

_NOT_FOR_PROVIDERS = CHAT_EXTENSIONS | {"model", "stream", "stream_options"}
ANSWERING_TASKS = CHAT_TASKS | {Task.AUDIO}


def provider_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a request that are sent to a provider."""
    return {name: value for name, value in fields.items() if name not in _NOT_FOR_PROVIDERS}


def route_request(
    chat: ChatRequest, body: Mapping[str, Any], conversation: Conversation, bridge: Bridge, *, context_tokens: int = 0
) -> RouteRequest:
    """Returns what the planner needs to know of a chat. `body` has the fields that are for the provider, which are the
    conversation.

    Raises `ModelNotFound`, and `InvalidRequest` for more answers than `routing.max_n`, and for unknown fields, as
    `check_unknown_fields` does.
    """
    check_unknown_fields(body, KNOWN_FIELDS, own=CHAT_EXTENSIONS, settings=bridge.settings)
    check_operators_limits(chat, bridge.settings.routing)
    target = resolve_model(chat.model, bridge.catalog)
    for_gateways = gateway_fields(body)
    images = image_needs(chat.image_urls)
    has_images = bridge.settings.routing.require_vision_for_images and images.count > 0
    return RouteRequest(
        task=chat_task(chat.task, target.task),
        prompt=_count_prompt(conversation),
        output_tokens=chat.output_tokens,
        n_choices=chat.n or 1,
        named=target.models,
        is_pinned=target.is_pinned,
        preferred=resolve_preferred(chat.preferred_model, bridge.catalog),
        needs_vision=bool(chat.require_vision) or has_images,
        needs_audio=uses_audio(chat),
        needs_tools=bool(chat.tools or (chat.model_extra or {}).get("functions")),
        images=images,
        requested_features=requested_features(chat),
        features_with_unbounded_cost=features_with_unbounded_cost(chat) | for_gateways,
        gateway_fields=for_gateways,
        max_cost_usd=chat.max_cost,
        context_tokens=context_tokens,
        used_features=_used_features(chat, body, has_images=images.count > 0),
    )


def _used_features(chat: ChatRequest, body: Mapping[str, Any], *, has_images: bool) -> frozenset[str]:
    """Returns what a model may have rejected before. See `RouteRequest.used_features`."""
    used = {name for name, value in body.items() if value} - {"messages", "response_format"}
    if chat.response_format is not None and chat.response_format.type == "json_schema":
        used.add("response_format")
    return frozenset(used | {"images"} if has_images else used)


def chat_task(task: Task | None, task_of_name: Task | None) -> Task | None:
    """Returns the task of a chat: the one that it names, else the one that its `model` stands for.

    Raises `InvalidRequest` for a task that is not a chat.
    """
    for named, param in ((task, "task"), (task_of_name, "model")):
        if named is not None and named not in ANSWERING_TASKS:
            raise InvalidRequest(f"{param}: {named.value} is nothing that a chat completion can do", param=param)
    return task or task_of_name


def _count_prompt(conversation: Conversation) -> TokenCount:
    try:
        return count_chat(conversation)
    except TypeError:
        raise InvalidRequest("the body is nested too deeply") from None
