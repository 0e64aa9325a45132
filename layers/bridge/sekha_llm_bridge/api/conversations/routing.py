"""What a conversation requires of a model."""

from sekha_llm_bridge.api.conversations.features import features_with_unbounded_cost, requested_features, uses_audio
from sekha_llm_bridge.api.conversations.images import image_needs
from sekha_llm_bridge.api.conversations.left_out import sent_fields
from sekha_llm_bridge.api.conversations.operators_limits import check_operators_limits
from sekha_llm_bridge.api.conversations.options import Options
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import CHAT_TASKS, Task
from sekha_llm_bridge.conversation import Conversation, Image, OtherTool, OutputFormatKind, WireFormat
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.pricing import TokenCount, count_chat
from sekha_llm_bridge.providers import RequestedFeature, gateway_fields
from sekha_llm_bridge.routing import RouteRequest
from sekha_llm_bridge.routing.names import resolve_model, resolve_preferred

ANSWERING_TASKS = CHAT_TASKS | {Task.AUDIO}


def route_request(
    conversation: Conversation,
    options: Options,
    bridge: Bridge,
    *,
    features: frozenset[RequestedFeature] = frozenset(),
    context_tokens: int = 0,
) -> RouteRequest:
    """Returns what the planner needs to know of a conversation. `features` are requested besides those that the
    conversation shows; `context_tokens` is the smallest context window.

    Raises `ModelNotFound`, and `InvalidRequest` for more answers than `routing.max_n` and for a task that is no chat.
    """
    check_operators_limits(conversation, bridge.settings.routing)
    target = resolve_model(options.model, bridge.catalog)
    for_gateways = _gateway_fields(conversation)
    blocks = (block for message in conversation.messages for block in message.blocks)
    images = image_needs([block.media for block in blocks if type(block) is Image])
    has_images = bridge.settings.routing.require_vision_for_images and images.count > 0
    return RouteRequest(
        task=chat_task(options.task, target.task),
        prompt=_count_prompt(conversation),
        output_tokens=conversation.max_output_tokens,
        n_choices=conversation.n_choices,
        named=target.models,
        is_pinned=target.is_pinned,
        preferred=resolve_preferred(options.preferred_model, bridge.catalog),
        needs_vision=options.needs_vision or has_images,
        needs_audio=uses_audio(conversation),
        needs_tools=bool(conversation.tools or conversation.vendor_fields.get("functions")),
        images=images,
        requested_features=requested_features(conversation) | features,
        features_with_unbounded_cost=features_with_unbounded_cost(conversation) | for_gateways,
        gateway_fields=for_gateways,
        max_cost_usd=options.max_cost_usd,
        context_tokens=context_tokens,
        # Of the others, the servers whose formats these are answer with what there is room for.
        is_output_needed=conversation.wire_format is WireFormat.OPENAI_CHAT,
        used_features=_used_features(conversation, has_images=images.count > 0),
    )


def _gateway_fields(conversation: Conversation) -> frozenset[str]:
    """Returns the `gateway_fields` of a request in OpenAI's format; those of other formats reach no gateway."""
    if conversation.wire_format is not WireFormat.OPENAI_CHAT:
        return frozenset()
    tools = [tool.fields if isinstance(tool, OtherTool) else tool.extra for tool in conversation.tools]
    return gateway_fields({**conversation.vendor_fields, "tools": [dict(fields) for fields in tools]})


def _used_features(conversation: Conversation, *, has_images: bool) -> frozenset[str]:
    """Returns what a model may have rejected before. See `RouteRequest.used_features`."""
    used = {name for name, value in sent_fields(conversation).items() if value} - {"response_format"}
    form = conversation.output_format
    if form is not None and form.kind is OutputFormatKind.JSON_SCHEMA:
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
