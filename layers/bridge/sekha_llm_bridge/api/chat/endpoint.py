"""`POST /v1/chat/completions`: parses the request, and answers whole or as a stream."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.answer_stream import AnswerStreamWriter
from sekha_llm_bridge.api.app import answer_response
from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.chat.response import chat_body
from sekha_llm_bridge.api.chat.routing import provider_request, route_request
from sekha_llm_bridge.api.chat.stream import ChatStreamEncoder
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import (
    RESPONSE_TIMEOUT_S,
    add_log_fields,
    bridge_of,
    deadline_of,
    inbound_of,
    state_of,
)
from sekha_llm_bridge.api.sse import EventResponse
from sekha_llm_bridge.execution import Deadline
from sekha_llm_bridge.execution.chat_operation import ChatOperation, ChatStreamOperation

_STREAM_TIMEOUT_S = 890.0  # API Gateway ends a stream after fifteen minutes, and a cold start takes part of that time
_ERROR_EVENT_S = 0.5  # after the deadline, part of its margin: for the event that reports it


async def create_completion(request: Request) -> Response:
    """Answers a chat by the best model that can."""
    deadline = deadline_of(request)
    fields = await json_object(request)
    chat = validated(ChatRequest, fields)
    if chat.stream:
        add_log_fields(request, stream=True)
    state_of(request).requested_model = chat.model
    body = provider_request(fields)
    conversation, bridge = conversation_of(body), bridge_of(request)
    route = route_request(chat, body, conversation, bridge)
    operation = ChatOperation(route, conversation, bridge.images() if route.images.by_url else None)
    respond = _stream if chat.stream else _complete
    return await respond(request, chat, operation, body, deadline)


async def _complete(
    request: Request, chat: ChatRequest, operation: ChatOperation, body: Mapping[str, Any], deadline: Deadline
) -> Response:
    result = await bridge_of(request).service.run(
        operation,
        deadline.at_most(RESPONSE_TIMEOUT_S),
        inbound_of(request),
        allow_fallback=chat.may_fall_back,
    )
    return answer_response(request, chat_body(result, body))


async def _stream(
    request: Request, chat: ChatRequest, operation: ChatOperation, body: Mapping[str, Any], deadline: Deadline
) -> Response:
    limit = deadline.at_most(_STREAM_TIMEOUT_S)
    options = None if chat.stream_options is None else chat.stream_options.model_dump()
    encoder = ChatStreamEncoder(body, with_usage=chat.wants_usage)
    writer = AnswerStreamWriter(
        request, ChatStreamOperation(*operation, options), limit, encoder, allow_fallback=chat.may_fall_back
    )
    return EventResponse(writer.write, bridge_of(request).clock, timeout_s=limit.remaining_s() + _ERROR_EVENT_S)
