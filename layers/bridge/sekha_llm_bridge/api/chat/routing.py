"""What of a chat request is sent to a provider, and how it is planned."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.api.chat.request import KNOWN_FIELDS, ChatRequest
from sekha_llm_bridge.api.conversations.endpoint import ChatInput
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS, Options
from sekha_llm_bridge.api.unknown_fields import check_unknown_fields
from sekha_llm_bridge.config.loaded import Settings

_NOT_FOR_PROVIDERS = OPTION_FIELDS | {"model", "stream", "stream_options"}


def provider_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a request that are sent to a provider."""
    return {name: value for name, value in fields.items() if name not in _NOT_FOR_PROVIDERS}


def chat_input(
    chat: ChatRequest, fields: Mapping[str, Any], settings: Settings, headers: Mapping[str, str] | None = None
) -> ChatInput:
    """Returns the parsed request. Raises `InvalidRequest` as `check_unknown_fields` does."""
    body = provider_request(fields)
    unknown = check_unknown_fields(body, KNOWN_FIELDS, own=OPTION_FIELDS, settings=settings)
    return ChatInput(
        conversation_of(body),
        Options.of(chat.model, chat, headers),
        is_stream=bool(chat.stream),
        unknown=tuple(unknown),
        stream_options=None if chat.stream_options is None else chat.stream_options.model_dump(),
    )
