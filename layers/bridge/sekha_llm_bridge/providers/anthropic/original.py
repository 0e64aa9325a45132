"""A request of the Messages API as the caller sent it: it goes to Anthropic with the model and a lowered limit.

Source: platform.claude.com, API reference, "Versions", "Beta headers".
"""

from collections.abc import Mapping

from sekha_llm_bridge.conversation import NO_FIELDS, Conversation, Json, WireFormat
from sekha_llm_bridge.providers.anthropic.output_format import Payload
from sekha_llm_bridge.providers.calls import ChatCall

BETA_HEADER = "anthropic-beta"
_MIN_BUDGET_TOKENS = 1024  # Anthropic's minimum


def original_of(conversation: Conversation) -> Json | None:
    """Returns the request as it was sent; None where it came in another format, or the bridge has changed it."""
    original = conversation.original
    return None if original is None or original.wire_format is not WireFormat.ANTHROPIC else original.fields


def original_headers(conversation: Conversation) -> Mapping[str, str]:
    """Returns the headers that were sent with it."""
    original = conversation.original
    return NO_FIELDS if original is None or original.wire_format is not WireFormat.ANTHROPIC else original.headers


def original_payload(call: ChatCall, fields: Json, max_tokens: int, *, stream: bool) -> Payload:
    """Returns the body of a request. A budget for thinking is a part of `max_tokens`: where the bridge lowers that, the
    budget is lowered, too.
    """
    payload: Payload = {**fields, "model": call.model_id, "max_tokens": max_tokens}
    thinking = fields.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    is_lowered = max_tokens < (fields.get("max_tokens") or 0)  # else the caller means it: some betas allow it
    if is_lowered and isinstance(budget, int) and budget >= max_tokens > _MIN_BUDGET_TOKENS:
        payload["thinking"] = {**fields["thinking"], "budget_tokens": max(_MIN_BUDGET_TOKENS, max_tokens // 2)}
    return {**payload, "stream": True} if stream else payload
