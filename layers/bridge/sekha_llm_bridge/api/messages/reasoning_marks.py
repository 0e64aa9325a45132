"""Reasoning in Anthropic's `thinking` blocks. The `signature` of other vendors' reasoning is the bridge's own: see
`packed_reasoning`.
"""

from typing import Any

from sekha_llm_bridge.api.conversations.packed_reasoning import is_packed, packed, unpacked
from sekha_llm_bridge.conversation import Reasoning, ReasoningKind


def thinking_block(thought: Reasoning) -> dict[str, Any]:
    """Returns the block for a part of reasoning: `thinking`, or `redacted_thinking` where it has no text."""
    signature = signature_of(thought)
    if thought.text or thought.encrypted is None:
        return {"type": "thinking", "thinking": thought.text, "signature": signature}
    return {"type": "redacted_thinking", "data": signature}


def signature_of(thought: Reasoning) -> str:
    """Returns the signature of a block, or the data of a redacted one: Anthropic's own, or the bridge's, without the
    text, which the block has.
    """
    if thought.kind is ReasoningKind.ANTHROPIC and (own := thought.signature or thought.encrypted):
        return own
    return packed([thought._replace(text="")])


def read_reasoning(block: dict[str, Any]) -> Reasoning:
    """Returns the reasoning of a `thinking` or `redacted_thinking` block of an earlier answer."""
    is_redacted = block["type"] == "redacted_thinking"
    text, mark = ("", block["data"]) if is_redacted else (block["thinking"], block.get("signature") or None)
    if isinstance(mark, str) and is_packed(mark):
        parts = unpacked(mark)
        return parts[0]._replace(text=text) if parts else Reasoning(text)
    if is_redacted:
        return Reasoning("", ReasoningKind.ANTHROPIC, encrypted=mark)
    return Reasoning(text, ReasoningKind.ANTHROPIC if mark else ReasoningKind.UNKNOWN, signature=mark)
