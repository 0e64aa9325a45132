"""`POST /v1/messages`, whole and streamed, and `POST /v1/messages/count_tokens`."""

import re
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
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.execution import ExecutionResult
from sekha_llm_bridge.routing import RouteRequest

_NOT_FOR_PROVIDERS = OPTION_FIELDS | {"model", "stream"}
_HEADERS = ("anthropic-version", "anthropic-beta")
_NO_THREADS = (
    "thread: leave it out, and send all messages: the bridge holds no conversations. The tool runner of Anthropic's "
    "client takes `thread=False`"
)
_HEADER_TEXT = r"[\x20-\x7e]{0,4096}"  # what every server takes; a failure there would be the provider's


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
    """Returns the parsed request. A field that is null is the same as none. Raises `InvalidRequest` as
    `check_unknown_fields` does, for a header that cannot be sent on, and for a thread: without the messages that its
    server holds, the answer would be to another conversation.
    """
    if fields.get("thread") is not None:
        raise InvalidRequest(_NO_THREADS, param="thread")
    body = {name: value for name, value in fields.items() if value is not None and name not in _NOT_FOR_PROVIDERS}
    unknown = check_unknown_fields(body, KNOWN_FIELDS, own=OPTION_FIELDS, settings=settings)
    conversation = conversation_of(body, _own_headers(headers))
    return ChatInput(
        conversation,
        Options.of(sent.model, sent, headers),
        is_stream=is_stream,
        unknown=tuple(unknown),
        features=own_features(conversation),
        image_param=lambda message, block: image_param(conversation.messages[message].blocks[block], body),
    )


def _own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns the headers that go to Anthropic. Raises `InvalidRequest` for one that cannot be sent."""
    sent = {name: headers[name].strip() for name in _HEADERS if name in headers}
    for name, value in sent.items():
        if re.fullmatch(_HEADER_TEXT, value) is None:
            raise InvalidRequest(f"the header {name}: must be at most 4096 characters of printable ASCII", param=name)
    return sent


class _MessageFormat:
    """See `AnswerFormat`."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def whole(self, result: ExecutionResult[ChatAnswer], receipt: dict[str, object]) -> dict[str, Any]:
        return message_body(result.answer, result.receipt.model_id, receipt, self._conversation)

    def stream(self, route: RouteRequest) -> MessageStreamEncoder:
        return MessageStreamEncoder(self._conversation, route.prompt.estimate)
