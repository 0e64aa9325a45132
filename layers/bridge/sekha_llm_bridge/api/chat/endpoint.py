"""`POST /v1/chat/completions`: parses the request, and answers whole or as a stream."""

from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.chat.response import chat_body
from sekha_llm_bridge.api.chat.routing import chat_input
from sekha_llm_bridge.api.chat.stream import ChatStreamEncoder
from sekha_llm_bridge.api.conversations.endpoint import answer_chat
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import bridge_of, deadline_of
from sekha_llm_bridge.conversation import ChatAnswer
from sekha_llm_bridge.execution import ExecutionResult
from sekha_llm_bridge.routing import RouteRequest


async def create_completion(request: Request) -> Response:
    """Answers a chat by the best model that can."""
    deadline = deadline_of(request)
    fields = await json_object(request)
    chat = validated(ChatRequest, fields)
    parsed = chat_input(chat, fields, bridge_of(request).settings, request.headers)
    return await answer_chat(request, parsed, _ChatFormat(chat), deadline)


class _ChatFormat:
    """See `AnswerFormat`."""

    def __init__(self, chat: ChatRequest) -> None:
        self._chat = chat

    def whole(self, result: ExecutionResult[ChatAnswer], receipt: dict[str, object]) -> dict[str, Any]:
        return chat_body(result, receipt)

    def stream(self, route: RouteRequest) -> ChatStreamEncoder:  # noqa: ARG002 — the protocol's
        return ChatStreamEncoder(with_usage=self._chat.wants_usage)
