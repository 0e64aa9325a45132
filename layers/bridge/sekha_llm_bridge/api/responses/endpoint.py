"""`POST /v1/responses`: parses the request, and answers whole or as a stream."""

from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.conversations.endpoint import answer_chat
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import bridge_of, deadline_of
from sekha_llm_bridge.api.responses.conversation import (
    ENCRYPTED_REASONING,
    ParsedRequest,
    check_supported,
    parsed_request,
)
from sekha_llm_bridge.api.responses.items import new_id
from sekha_llm_bridge.api.responses.output import OutputRules, incomplete_reason, output_items
from sekha_llm_bridge.api.responses.request import ResponsesRequest
from sekha_llm_bridge.api.responses.response import ResponseFrame, usage_body
from sekha_llm_bridge.api.responses.stream import ResponseStreamEncoder
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import ChatAnswer, Json
from sekha_llm_bridge.execution import ExecutionResult
from sekha_llm_bridge.routing import RouteRequest


async def create_response(request: Request) -> Response:
    """Answers a conversation by the best model that can."""
    deadline = deadline_of(request)
    fields = await json_object(request)
    check_supported(fields)
    bridge = bridge_of(request)
    parsed = parsed_request(validated(ResponsesRequest, fields), fields, bridge.settings, request.headers)
    return await answer_chat(request, parsed.chat, ResponsesFormat(parsed, fields, bridge.clock), deadline)


class ResponsesFormat:
    """See `AnswerFormat`."""

    def __init__(self, parsed: ParsedRequest, fields: Json, clock: Clock) -> None:
        sent = parsed.request
        self._clock = clock
        self._model = sent.model
        self._frame = ResponseFrame(sent, fields, new_id("resp"), self._unix_time_s())
        self._rules = OutputRules(
            parsed.tools,
            wants_summary=sent.reasoning is not None and sent.reasoning.summary is not None,
            wants_encrypted=sent.wants(ENCRYPTED_REASONING),
            is_sequential=sent.parallel_tool_calls is False,
        )

    def whole(self, result: ExecutionResult[ChatAnswer], receipt: dict[str, object]) -> dict[str, Any]:
        """See `AnswerFormat.whole`."""
        answer = result.answer
        choice = answer.choices[0]
        reason = incomplete_reason(choice.finish_reason)
        return self._frame.body(
            "completed" if reason is None else "incomplete",
            result.receipt.model_id,
            output_items(choice, self._rules),
            incomplete_details=None if reason is None else {"reason": reason},
            completed_at=None if reason else self._unix_time_s(),
            usage=usage_body(answer.usage, answer.provider_usage, is_estimated=answer.usage_is_estimated),
            bridge=receipt,
        )

    def stream(self, route: RouteRequest) -> ResponseStreamEncoder:  # noqa: ARG002 — the protocol's
        """See `AnswerFormat.stream`."""
        return ResponseStreamEncoder(self._frame, self._rules, self._unix_time_s, self._model)

    def _unix_time_s(self) -> int:
        return int(self._clock.now().timestamp())
