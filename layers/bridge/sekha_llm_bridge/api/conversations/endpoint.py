"""Answers a conversation, whole or as a stream, in the format of its inbound API."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from fastapi import Request, Response

from sekha_llm_bridge.api.answer_stream import AnswerStreamWriter, StreamEncoder
from sekha_llm_bridge.api.app import answer_response
from sekha_llm_bridge.api.conversations.options import Options
from sekha_llm_bridge.api.conversations.receipt import receipt_body
from sekha_llm_bridge.api.conversations.routing import route_request
from sekha_llm_bridge.api.request_state import RESPONSE_TIMEOUT_S, add_log_fields, bridge_of, inbound_of, state_of
from sekha_llm_bridge.api.sse import EventResponse
from sekha_llm_bridge.conversation import ChatAnswer, Conversation, Json
from sekha_llm_bridge.execution import Deadline, ExecutionResult
from sekha_llm_bridge.execution.chat_operation import ChatOperation, ChatStreamOperation
from sekha_llm_bridge.providers import RequestedFeature
from sekha_llm_bridge.routing import RouteRequest

_STREAM_TIMEOUT_S = 890.0  # API Gateway ends a stream after fifteen minutes, and a cold start takes part of that time
_ERROR_EVENT_S = 0.5  # after the deadline, part of its margin: for the event that reports it


class ChatInput(NamedTuple):
    """A parsed request of an inbound API.

    `unknown` are the names of its fields that the bridge does not know, `notes` the inbound API's own notes for the
    receipt, `features` what it requests besides what the conversation shows. `stream_options` are those of OpenAI's
    chat completions. `image_param` returns the path of an image's URL in the request, by the indices of its message and
    its block in the conversation; None: as in OpenAI's chat completions.
    """

    conversation: Conversation
    options: Options
    is_stream: bool = False
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    features: frozenset[RequestedFeature] = frozenset()
    stream_options: Json | None = None
    image_param: Callable[[int, int], str] | None = None


class AnswerFormat(Protocol):
    """The format of the answers of an inbound API, for one request."""

    def whole(self, result: ExecutionResult[ChatAnswer], receipt: dict[str, object]) -> dict[str, Any]:
        """Returns the body of a complete answer, with the receipt in it."""
        ...

    def stream(self, route: RouteRequest) -> StreamEncoder:
        """Returns the encoder of a streamed answer; `route` has the estimated tokens of the prompt."""
        ...


async def answer_chat(request: Request, chat: ChatInput, answer_format: AnswerFormat, deadline: Deadline) -> Response:
    """Answers a conversation by the best model that can."""
    if chat.is_stream:
        add_log_fields(request, stream=True)
    state_of(request).requested_model = chat.options.model
    bridge = bridge_of(request)
    route = route_request(chat.conversation, chat.options, bridge, features=chat.features)
    operation = ChatOperation(
        route, chat.conversation, bridge.images(chat.image_param) if route.images.by_url else None
    )
    respond = _stream if chat.is_stream else _complete
    return await respond(request, chat, operation, answer_format, deadline)


async def _complete(
    request: Request, chat: ChatInput, operation: ChatOperation, answer_format: AnswerFormat, deadline: Deadline
) -> Response:
    result = await bridge_of(request).service.run(
        operation,
        deadline.at_most(RESPONSE_TIMEOUT_S),
        inbound_of(request),
        allow_fallback=chat.options.allows_fallback,
    )
    answer = result.answer
    receipt = _receipt_maker(chat)(
        result.receipt, result.candidate, left_out=answer.left_out, is_estimated=answer.usage_is_estimated
    )
    return answer_response(request, answer_format.whole(result, receipt))


def _receipt_maker(chat: ChatInput) -> Callable[..., dict[str, object]]:
    return partial(receipt_body, conversation=chat.conversation, unknown=chat.unknown, notes=chat.notes)


async def _stream(
    request: Request, chat: ChatInput, operation: ChatOperation, answer_format: AnswerFormat, deadline: Deadline
) -> Response:
    limit = deadline.at_most(_STREAM_TIMEOUT_S)
    encoder, make_receipt = answer_format.stream(operation.route), _receipt_maker(chat)
    writer = AnswerStreamWriter(
        request,
        ChatStreamOperation(*operation, chat.stream_options),
        limit,
        encoder,
        allow_fallback=chat.options.allows_fallback,
        receipt_of=lambda answer, receipt: make_receipt(
            receipt, answer.candidate, left_out=answer.chunks.left_out, is_estimated=answer.chunks.is_estimated
        ),
    )
    timeout_s = limit.remaining_s() + _ERROR_EVENT_S
    ping: Callable[[], bytes] | None = encoder.ping if encoder.has_pings else None
    return EventResponse(
        writer.write, bridge_of(request).clock, timeout_s=timeout_s, content_type=encoder.content_type, ping=ping
    )
