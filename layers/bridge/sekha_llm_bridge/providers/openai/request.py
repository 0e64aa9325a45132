"""Builds requests in OpenAI's format for one vendor."""

from typing import Any

from sekha_llm_bridge.conversation import Conversation, Json, Message, Text, WireFormat, cache_marks_of
from sekha_llm_bridge.providers.base import EmbeddingCall
from sekha_llm_bridge.providers.cache_control import MARK, without_marks
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.openai.request_messages import (
    add_reasoning_details,
    cache_body,
    message_body,
    output_format_body,
    tool_body,
    tool_choice_body,
)
from sekha_llm_bridge.providers.openai.vendors import Vendor
from sekha_llm_bridge.providers.price_ceilings import with_max_price
from sekha_llm_bridge.providers.thinking_budgets import within_output_limit
from sekha_llm_bridge.providers.tool_results import with_failure_in_words, with_media_after_results

_COMMON_EFFORTS = {"xhigh": "high", "max": "high"}  # values that few models have

_SYSTEM_ROLES = frozenset({"system", "developer"})


def chat_payload(call: ChatCall, vendor: Vendor) -> dict[str, Any]:
    """Returns the body of a chat request, with the model, the output limit and the price ceiling.

    The lowest of all output limits is sent, in the vendor's own field: it may ignore or reject another one.
    """
    limit = call.output_limit
    conversation = within_output_limit(call, limit)
    if conversation.wire_format is not WireFormat.OPENAI_CHAT:
        conversation = _of_other_format(conversation, vendor)
    payload: dict[str, Any] = {
        **conversation.vendor_fields,
        **_typed_fields(conversation),
        **conversation.parameters,
        "model": call.model_id,
        "messages": [message_body(message) for message in conversation.messages],
    }
    if vendor.takes_reasoning_details:
        add_reasoning_details(payload["messages"], conversation.messages)
    for name in vendor.omitted_fields & payload.keys():
        del payload[name]
    for name, other in vendor.renamed_fields:
        if name in payload:
            payload[other] = payload.pop(name)
    if payload.get("functions") == []:  # some servers reject an empty list
        del payload["functions"]
    if call.stream_options is not None:
        payload["stream_options"] = call.stream_options
    if limit is not None:
        payload[vendor.output_cap_field] = limit
    if call.price_ceiling is not None and vendor.accepts_price_ceiling:
        payload = with_max_price(payload, call.price_ceiling)
    return _with_cache_marks(payload, call, vendor)


def _with_cache_marks(payload: dict[str, Any], call: ChatCall, vendor: Vendor) -> dict[str, Any]:
    """Returns the body with the marks for the cache that the vendor takes: the caller's, or the bridge's own."""
    if not vendor.takes_cache_marks:
        has_marks = cache_marks_of(call.conversation).has_any
        return (without_marks(payload) if has_marks else None) or payload
    return {**payload, "messages": _with_marked_prefix(payload["messages"])} if call.marks_prefix else payload


def _with_marks_on_parts(conversation: Conversation) -> Conversation:
    """Returns the conversation with the marks of whole messages on their last texts, where gateways look for them."""
    return conversation._replace(messages=tuple(map(_with_mark_on_part, conversation.messages)))


def _without_marks(conversation: Conversation) -> Conversation:
    """Returns the conversation without marks in its messages: texts that no mark divides are sent as one, because many
    servers take parts from the user only.
    """
    return conversation._replace(messages=tuple(map(_without_marks_in, conversation.messages)))


def _without_marks_in(message: Message) -> Message:
    blocks = (block._replace(cache=None) if isinstance(block, Text) else block for block in message.blocks)
    return message._replace(blocks=tuple(blocks), cache=None)


def _with_mark_on_part(message: Message) -> Message:
    texts = [at for at, block in enumerate(message.blocks) if isinstance(block, Text)]
    if message.cache is None or not texts:
        return message
    blocks = [*message.blocks]
    blocks[texts[-1]] = blocks[texts[-1]]._replace(cache=message.cache)  # type: ignore[call-arg]  # it is a text
    return message._replace(blocks=tuple(blocks), cache=None)


def _with_marked_prefix(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the messages with a cache mark on the last text of the system messages before all others."""
    n_leading = next((n for n, one in enumerate(messages) if one["role"] not in _SYSTEM_ROLES), len(messages))
    if not n_leading:
        return messages
    last = messages[n_leading - 1]
    content = last["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else [*content]
    if not parts or not parts[-1].get("text"):
        return messages
    parts[-1] = {**parts[-1], "cache_control": MARK}
    return [*messages[: n_leading - 1], {**last, "content": parts}, *messages[n_leading:]]


def _of_other_format(conversation: Conversation, vendor: Vendor) -> Conversation:
    """Returns a conversation of another inbound API without what OpenAI's format has no place for, or in another place:
    media in the results of calls, and whether a call has failed.
    """
    shared: Json = {}
    if conversation.wire_format is WireFormat.OPENAI_RESPONSES:
        names = vendor.responses_fields & conversation.vendor_fields.keys()
        shared = {name: conversation.vendor_fields[name] for name in names}
    plain = conversation.without_extras()._replace(vendor_fields=shared)
    messages = tuple(with_media_after_results(map(with_failure_in_words, plain.messages)))
    with_marks = _with_marks_on_parts if vendor.takes_cache_marks else _without_marks
    return with_marks(plain._replace(messages=messages))


def _typed_fields(conversation: Conversation) -> dict[str, Any]:
    """Returns the fields that are typed in the internal format, where they are set."""
    fields: dict[str, Any] = {}
    if (effort := conversation.effort_hint) is not None:
        fields["reasoning_effort"] = _COMMON_EFFORTS.get(effort, effort)
    if conversation.tools:
        fields["tools"] = [tool_body(tool) for tool in conversation.tools]
    if (choice := conversation.tool_choice) is not None:
        fields["tool_choice"] = tool_choice_body(choice)
    if conversation.is_parallel is not None:
        fields["parallel_tool_calls"] = conversation.is_parallel
    if conversation.output_format is not None:
        fields["response_format"] = output_format_body(conversation.output_format)
    if conversation.n_choices > 1:
        fields["n"] = conversation.n_choices
    if conversation.thinking is not None and conversation.wire_format is WireFormat.OPENAI_CHAT:
        fields["thinking"] = conversation.thinking
    if conversation.cache is not None:
        fields["cache_control"] = cache_body(conversation.cache)
    return fields


def embedding_payload(call: EmbeddingCall) -> dict[str, Any]:
    """Returns the body of an embeddings request. Optional fields are left out, because some vendors reject null; fields
    that the bridge does not know are sent as they are.
    """
    optional = {"dimensions": call.dimensions, "user": call.user}
    return {
        **(call.vendor_fields if call.wire_format is WireFormat.OPENAI_CHAT else {}),
        "model": call.model_id,
        "input": list(call.texts),
        "encoding_format": "float",
        **{key: value for key, value in optional.items() if value is not None},
    }
