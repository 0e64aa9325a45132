"""Translates the end of an answer into Anthropic's `stop_reason`."""

from collections.abc import Collection
from typing import Any, NamedTuple

from sekha_llm_bridge.conversation import NO_FIELDS, FinishReason, Json

_STOP_REASONS = frozenset({"pause_turn", "model_context_window_exceeded", "refusal"})
"""The reasons that only Anthropic has: its adapter puts them beside OpenAI's."""


class Ending(NamedTuple):
    """How an answer ended. `refusal` are the model's words about why it does not answer."""

    finish_reason: str | None
    has_calls: bool
    refusal: str | None = None
    stop_sequence: str | None = None
    extra: Json = NO_FIELDS


def ending_body(ending: Ending, stop_sequences: Collection[str]) -> dict[str, Any]:
    """Returns the fields of a message that say how it ended. `stop_sequences` are those of the request."""
    sequence = ending.stop_sequence
    if sequence is None and ending.extra.get("stop_reason") in stop_sequences:  # vLLM's name for it
        sequence = ending.extra["stop_reason"]
    reason = _stop_reason(ending, sequence)
    body: dict[str, Any] = {
        "stop_reason": reason,
        "stop_sequence": sequence if reason == "stop_sequence" else None,
    }
    if reason == "refusal":
        details = ending.extra.get("stop_details")
        is_own = isinstance(details, dict) and details.get("type") == "refusal"
        explained = {"type": "refusal", "category": None, "explanation": ending.refusal}
        body["stop_details"] = details if is_own else explained
    return body


def _stop_reason(ending: Ending, sequence: str | None) -> str:
    own = ending.extra.get("stop_reason")
    if isinstance(own, str) and own in _STOP_REASONS:
        return own
    match ending.finish_reason:
        case FinishReason.LENGTH:
            return "max_tokens"
        case FinishReason.CONTENT_FILTER:
            return "refusal"
    if ending.has_calls:
        return "tool_use"
    if ending.refusal is not None:
        return "refusal"
    return "end_turn" if sequence is None else "stop_sequence"
