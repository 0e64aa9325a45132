"""Reasoning of other vendors' models in Anthropic's `thinking` blocks.

Anthropic's clients send these blocks back as they came, with their `signature`. Of other vendors' reasoning, the
signature is a mark of the bridge: its kind, and what its own vendor needs to take it back. So it is recognised when it
comes back, goes to a model of the same vendor, and never to Anthropic, which would reject it.
"""

import base64
import binascii
from typing import Any

import orjson

from sekha_llm_bridge.conversation import Reasoning, ReasoningKind

_PREFIX = "sekha-bridge:"
_KINDS = {kind.value: kind for kind in ReasoningKind}
_PARTS = ("signature", "encrypted", "item_id")


def thinking_block(thought: Reasoning) -> dict[str, Any]:
    """Returns the block for a part of reasoning: `thinking`, or `redacted_thinking` where it has no text."""
    signature = signature_of(thought)
    if thought.text or thought.encrypted is None:
        return {"type": "thinking", "thinking": thought.text, "signature": signature}
    return {"type": "redacted_thinking", "data": signature}


def signature_of(thought: Reasoning) -> str:
    """Returns the signature of a block, or the data of a redacted one: Anthropic's own, or the bridge's mark."""
    if thought.kind is ReasoningKind.ANTHROPIC and (own := thought.signature or thought.encrypted):
        return own
    parts = {name: value for name in _PARTS if (value := getattr(thought, name)) is not None}
    encoded = base64.urlsafe_b64encode(orjson.dumps(parts)).decode() if parts else ""
    return f"{_PREFIX}{thought.kind.value}:{encoded}"


def is_mark(signature: object) -> bool:
    """Returns whether a signature, or the data of a redacted block, is the bridge's mark."""
    return isinstance(signature, str) and signature.startswith(_PREFIX)


def read_reasoning(block: dict[str, Any]) -> Reasoning:
    """Returns the reasoning of a `thinking` or `redacted_thinking` block of an earlier answer."""
    is_redacted = block["type"] == "redacted_thinking"
    text, mark = ("", block["data"]) if is_redacted else (block["thinking"], block.get("signature") or None)
    if not isinstance(mark, str) or not is_mark(mark):
        if is_redacted:
            return Reasoning("", ReasoningKind.ANTHROPIC, encrypted=mark)
        return Reasoning(text, ReasoningKind.ANTHROPIC if mark else ReasoningKind.UNKNOWN, signature=mark)
    kind, _, encoded = mark.removeprefix(_PREFIX).partition(":")
    found = Reasoning(text, _KINDS.get(kind, ReasoningKind.UNKNOWN))
    return found._replace(**_parts_in(encoded))


def _parts_in(encoded: str) -> dict[str, Any]:
    """Returns what a mark holds; nothing where somebody has changed it."""
    try:
        parts = orjson.loads(base64.b64decode(encoded, altchars=b"-_", validate=True) or b"{}")
    except (binascii.Error, ValueError):
        return {}
    if not isinstance(parts, dict):
        return {}
    return {name: value for name, value in parts.items() if name in _PARTS and isinstance(value, str)}
