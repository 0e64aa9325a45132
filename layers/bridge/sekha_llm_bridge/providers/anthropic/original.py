"""A request of the Messages API as the caller sent it: it goes to Anthropic with the model and a lowered limit.

Source: platform.claude.com, API reference, "Versions", "Beta headers".
"""

from collections.abc import Mapping

from sekha_llm_bridge.conversation import NO_FIELDS, Conversation, Json, WireFormat
from sekha_llm_bridge.providers.anthropic.output_format import Payload
from sekha_llm_bridge.providers.anthropic.thinking import without_thinking
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.thinking_budgets import budget_within

BETA_HEADER = "anthropic-beta"


def original_of(conversation: Conversation) -> Json | None:
    """Returns the request as it was sent; None where it came in another format, or the bridge has changed it."""
    original = conversation.original
    return None if original is None or original.wire_format is not WireFormat.ANTHROPIC else original.fields


def original_headers(conversation: Conversation) -> Mapping[str, str]:
    """Returns the headers that were sent with it."""
    original = conversation.original
    return NO_FIELDS if original is None or original.wire_format is not WireFormat.ANTHROPIC else original.headers


def original_payload(call: ChatCall, fields: Json, max_tokens: int, *, stream: bool) -> Payload:
    """Returns the body of a request, with a budget for thinking as `budget_within` returns it."""
    payload: Payload = {**fields, "model": call.model_id, "max_tokens": max_tokens}
    if isinstance(thinking := fields.get("thinking"), dict):
        fitted = budget_within(thinking, call, max_tokens)
        payload = without_thinking(payload) if fitted is None else {**payload, "thinking": fitted}
    return {**payload, "stream": True} if stream else payload
