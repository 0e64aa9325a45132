"""A request of the Messages API as the caller sent it: it goes to Anthropic with the model and a lowered limit.

Source: platform.claude.com, API reference, "Versions", "Beta headers".
"""

from collections.abc import Collection, Mapping

from sekha_llm_bridge.conversation import NO_FIELDS, Conversation, Json, WireFormat
from sekha_llm_bridge.providers.anthropic.output_format import Payload
from sekha_llm_bridge.providers.anthropic.thinking import without_thinking
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.thinking_budgets import budget_within

BETA_HEADER = "anthropic-beta"


KNOWN_FIELDS = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "thinking", "stream"),
        *("temperature", "top_p", "top_k", "stop_sequences", "output_config", "output_format", "cache_control"),
        *("mcp_servers", "container", "context_management", "metadata", "service_tier", "speed", "inference_geo"),
        "diagnostics",
    }
)
"""The fields of a request whose cost is known: bounded, or such that a cost limit excludes Anthropic for them."""


def without_unknown_fields(payload: Payload, allowed: Collection[str]) -> Payload:
    """Returns the body of a request without fields that are neither known nor allowed: nobody knows what they cost."""
    return {name: value for name, value in payload.items() if name in KNOWN_FIELDS or name in allowed}


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
