"""`POST /api/chat` and `POST /api/generate`, whole or as a stream, which is the default."""

from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.conversations.endpoint import ChatInput, answer_chat
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS
from sekha_llm_bridge.api.ollama.answers import (
    NOT_LOADED,
    Part,
    PartFields,
    chat_fields,
    generate_fields,
    line_fields,
    whole_body,
)
from sekha_llm_bridge.api.ollama.conversation import chat_conversation, generate_conversation, unknown_fields
from sekha_llm_bridge.api.ollama.names import configured_name, options_of
from sekha_llm_bridge.api.ollama.request import ChatRequest, GenerateRequest, ModelRequest
from sekha_llm_bridge.api.ollama.stream import OllamaStreamEncoder
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import bridge_of, deadline_of, state_of
from sekha_llm_bridge.api.unknown_fields import check_unknown_fields
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import ChatAnswer, Conversation
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.execution import ExecutionResult
from sekha_llm_bridge.routing import RouteRequest

_NOT_TRANSLATED = {
    "raw": "would need the model's own prompt format: send the prompt without `raw`, or messages to /api/chat",
    "template": "belongs to the model's provider and cannot be replaced: send `system`, or messages to /api/chat",
    "suffix": "needs a model's own way to fill in text, which the bridge does not have",
    "context": "has the tokens of one model, which no other can read: send the messages to /api/chat",
}


async def chat(request: Request) -> Response:
    """Answers a chat by the best model that can."""
    started_s = bridge_of(request).clock.monotonic_s()
    parsed = validated(ChatRequest, await json_object(request))
    if not parsed.messages:
        return _answer_about_loading(request, parsed, chat_fields)
    return await _answer(request, parsed, chat_conversation(parsed), chat_fields, started_s)


async def generate(request: Request) -> Response:
    """Answers a prompt by the best model that can."""
    started_s = bridge_of(request).clock.monotonic_s()
    parsed = validated(GenerateRequest, await json_object(request))
    for field, reason in _NOT_TRANSLATED.items():
        if getattr(parsed, field):
            raise InvalidRequest(f"{field}: {reason}", param=field)
    if not parsed.prompt:
        return _answer_about_loading(request, parsed, generate_fields)
    return await _answer(request, parsed, generate_conversation(parsed), generate_fields, started_s)


async def _answer(
    request: Request, parsed: ModelRequest, conversation: Conversation, part_fields: PartFields, started_s: float
) -> Response:
    bridge, deadline = bridge_of(request), deadline_of(request)
    unknown = check_unknown_fields(unknown_fields(parsed), (), own=OPTION_FIELDS, settings=bridge.settings)
    options = options_of(request, parsed.model, parsed)
    chat_input = ChatInput(conversation, options, is_stream=parsed.is_streamed, unknown=tuple(unknown))
    return await answer_chat(request, chat_input, _OllamaFormat(part_fields, bridge.clock, started_s), deadline)


def _answer_about_loading(request: Request, parsed: ModelRequest, part_fields: PartFields) -> Response:
    """Answers a request without a prompt, by which Ollama loads or unloads a model: no provider is asked."""
    bridge = bridge_of(request)
    state_of(request).requested_model = name = configured_name(parsed.model, bridge.catalog)
    body = line_fields(name, bridge.clock.now(), part_fields(Part()), done=True)
    reason = "unload" if parsed.unloads else "load"
    return json_response({**body, "done_reason": reason, "bridge": {"notes": [NOT_LOADED]}})


class _OllamaFormat:
    """See `AnswerFormat`. `started_s` is the clock's reading at the request."""

    def __init__(self, part_fields: PartFields, clock: Clock, started_s: float) -> None:
        self._part_fields = part_fields
        self._clock = clock
        self._started_s = started_s

    def whole(self, result: ExecutionResult[ChatAnswer], receipt: dict[str, object]) -> dict[str, Any]:
        return whole_body(result, receipt, self._part_fields, self._clock, self._started_s)

    def stream(self, route: RouteRequest) -> OllamaStreamEncoder:  # noqa: ARG002 — the protocol's
        return OllamaStreamEncoder(self._part_fields, self._clock, self._started_s)
