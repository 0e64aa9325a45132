"""`POST /v1/messages`, whole and streamed, and `POST /v1/messages/count_tokens`."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.conversations.endpoint import ChatInput, answer_chat
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS, Options
from sekha_llm_bridge.api.conversations.routing import route_request
from sekha_llm_bridge.api.messages.conversation import conversation_of
from sekha_llm_bridge.api.messages.features import own_features
from sekha_llm_bridge.api.messages.image_param import image_param
from sekha_llm_bridge.api.messages.request import KNOWN_FIELDS, CountRequest, MessagesRequest
from sekha_llm_bridge.api.messages.response import message_body
from sekha_llm_bridge.api.messages.stream import MessageStreamEncoder
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import bridge_of, deadline_of, inbound_of, state_of
from sekha_llm_bridge.api.unknown_fields import check_unknown_fields
from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.conversation import ChatAnswer, Conversation
from sekha_llm_bridge.execution import ExecutionResult
from sekha_llm_bridge.routing import RouteRequest

_NOT_FOR_PROVIDERS = OPTION_FIELDS | {"model", "stream"}
_HEADERS = ("anthropic-version", "anthropic-beta")


async def create_message(request: Request) -> Response:
    """Answers a conversation by the best model that can."""
    deadline = deadline_of(request)
    fields = await json_object(request)
    sent = validated(MessagesRequest, fields)
    chat = messages_input(sent, fields, bridge_of(request).settings, request.headers, is_stream=bool(sent.stream))
    return await answer_chat(request, chat, _MessageFormat(chat.conversation), deadline)


async def count_tokens(request: Request) -> Response:
    """Answers with the number of the prompt's tokens: the provider's own count, where the model that would answer first
    has one, else an estimate. Nothing is billed.
    """
    deadline = deadline_of(request)
    fields = await json_object(request)
    sent = validated(CountRequest, fields)
    bridge = bridge_of(request)
    chat = messages_input(sent, fields, bridge.settings, request.headers)
    state_of(request).requested_model = sent.model
    route = route_request(chat.conversation, chat.options, bridge, features=chat.features)
    counted = await bridge.service.count_tokens(route, deadline, chat.conversation, inbound=inbound_of(request))
    receipt = {"provider_id": counted.provider_id, "model_id": counted.model_id, "estimated": counted.is_estimated}
    return json_response({"input_tokens": counted.tokens, "bridge": receipt})


def messages_input(
    sent: CountRequest,
    fields: Mapping[str, Any],
    settings: Settings,
    headers: Mapping[str, str],
    *,
    is_stream: bool = False,
) -> ChatInput:
    """Returns the parsed request. Raises `InvalidRequest` as `check_unknown_fields` does."""
    body = {name: value for name, value in fields.items() if name not in _NOT_FOR_PROVIDERS}
    unknown = check_unknown_fields(body, KNOWN_FIELDS, own=OPTION_FIELDS, settings=settings)
    conversation = conversation_of(body, {name: headers[name] for name in _HEADERS if name in headers})
    return ChatInput(
        conversation,
        Options.of(sent.model, sent, headers),
        is_stream=is_stream,
        unknown=tuple(unknown),
        features=own_features(conversation),
        image_param=lambda message, block: image_param(conversation.messages[message].blocks[block], body),
    )


class _MessageFormat:
    """See `AnswerFormat`."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def whole(self, result: ExecutionResult[ChatAnswer], receipt: dict[str, object]) -> dict[str, Any]:
        return message_body(result.answer, result.receipt.model_id, receipt, self._conversation)

    def stream(self, route: RouteRequest) -> MessageStreamEncoder:
        return MessageStreamEncoder(self._conversation, route.prompt.estimate)
