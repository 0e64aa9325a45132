"""Keeps a caller's budget for thinking within an output limit on which the bridge relies.

A budget is a part of `max_tokens`. Only with the beta for interleaved thinking may it exceed that, "as the token limit
becomes your entire context window": then `max_tokens` may not bound what is billed.

Sources: platform.claude.com, "Extended thinking", "Budget rules and tuning"; Amazon Bedrock User Guide, "Extended
thinking".
"""

from sekha_llm_bridge.conversation import Conversation, Json, WireFormat
from sekha_llm_bridge.providers.calls import ChatCall

MIN_BUDGET_TOKENS = 1024
"""Anthropic's minimum."""

THINKING_WITHOUT_ROOM = f"thinking with an output limit of at most {MIN_BUDGET_TOKENS} tokens"
"""What a note calls a budget that was left out."""


def budget_within(thinking: Json, call: ChatCall, max_tokens: int) -> Json | None:
    """Returns Anthropic's `thinking` with a budget below `max_tokens`; None where that has no room for a budget. A
    budget beside a limit that is only the caller's own is the caller's to choose.
    """
    budget = thinking.get("budget_tokens")
    if not call.bounds_output or not isinstance(budget, int) or budget < max_tokens:
        return thinking
    if max_tokens <= MIN_BUDGET_TOKENS:
        return None
    return {**thinking, "budget_tokens": max(MIN_BUDGET_TOKENS, max_tokens // 2)}


def within_output_limit(call: ChatCall, max_tokens: int | None) -> Conversation:
    """Returns the conversation of a call with its `thinking` as `budget_within` returns it."""
    conversation = call.conversation
    if conversation.thinking is None or max_tokens is None:
        return conversation
    return conversation._replace(thinking=budget_within(conversation.thinking, call, max_tokens))


def unsent_thinking(call: ChatCall) -> list[str]:
    """Returns what `within_output_limit` leaves out of a request in OpenAI's format, for a note. In those of other
    formats, `thinking` is an effort.
    """
    conversation = call.conversation
    if conversation.thinking is None or conversation.wire_format is not WireFormat.OPENAI_CHAT:
        return []
    is_unsent = within_output_limit(call, call.output_limit).thinking is None
    return [THINKING_WITHOUT_ROOM] if is_unsent else []
