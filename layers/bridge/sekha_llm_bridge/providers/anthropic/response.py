"""Translates Anthropic's answers. Source: platform.claude.com, API reference, "Create a Message"; "Stop reasons"."""

from typing import Any

import orjson

from sekha_llm_bridge.conversation import (
    Block,
    ChatAnswer,
    Choice,
    FinishReason,
    Json,
    Original,
    OtherBlock,
    Reasoning,
    ReasoningKind,
    Refusal,
    Text,
    ToolCall,
    WireFormat,
)
from sekha_llm_bridge.providers.anthropic.output_format import ANSWER_TOOL, ignored_answer_tool
from sekha_llm_bridge.providers.anthropic.usage import provider_usage, read_usage
from sekha_llm_bridge.providers.base import malformed_answer, read_text
from sekha_llm_bridge.providers.single_choice import new_answer_id

_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}
COMPLETE_REASONS = frozenset({None, "end_turn", "stop_sequence"})
"""The stop reasons of an answer that lacks nothing, and calls no tool."""
# OpenAI's reasons do not say these: the caller gets Anthropic's own beside them.
_SHOWN_REASONS = frozenset({"pause_turn", "model_context_window_exceeded", "refusal"})


def read_answer(
    body: Json, *, created: int, must_call: bool = False, keeps_original: bool = False, is_hour_cache: bool = False
) -> ChatAnswer:
    """Returns a complete answer. `created` is in Unix seconds. `must_call`: the request forces the answer tool.
    `keeps_original`: the answer is also kept as it was sent. `is_hour_cache`: see `read_usage`.

    Raises `ProviderError` (MALFORMED_ANSWER; CANDIDATE_UNSUITABLE where the call is missing).
    """
    usage = read_usage(body.get("usage"), is_hour_cache=is_hour_cache)
    content = body.get("content")
    if not isinstance(content, list):
        raise malformed_answer("the provider's answer has no content", usage)
    blocks = _blocks(content)
    stop_reason = body.get("stop_reason")
    has_text = any(isinstance(block, Text) and block.text.strip() for block in blocks)
    is_refusal = stop_reason == "refusal"
    if must_call and not is_refusal and (has_text or stop_reason in COMPLETE_REASONS) and not _has_call(content):
        raise ignored_answer_tool(usage)
    choice = Choice(
        0,
        (*blocks, *refusal_of(body)),
        finish_reason(stop_reason, has_calls=any(isinstance(block, ToolCall) for block in blocks)),
        stop_sequence=body.get("stop_sequence"),
        extra=extra_of(body),
    )
    answer_id = body.get("id")
    return ChatAnswer(
        answer_id if isinstance(answer_id, str) and answer_id else new_answer_id(),
        created,
        (choice,),
        usage,
        provider_usage=provider_usage(body.get("usage")),
        original=Original(WireFormat.ANTHROPIC, body) if keeps_original else None,
    )


def _blocks(content: list[Any]) -> tuple[Block, ...]:
    """Returns the blocks. Beside a call that is the answer, other texts are left out."""
    blocks = tuple(read_block(block) for block in content)
    answer = next((n for n, block in enumerate(content) if block.get("name") == ANSWER_TOOL), None)
    if answer is None:
        return blocks
    return tuple(block for n, block in enumerate(blocks) if n == answer or not isinstance(block, Text))


def _has_call(content: list[Any]) -> bool:
    return any(block["type"] == "tool_use" for block in content)


def finish_reason(stop_reason: object, *, has_calls: bool) -> str:
    """Returns OpenAI's finish reason. A call of the answer tool is the answer, and no call; other reasons that
    Anthropic may add end an answer as `stop` does.
    """
    found = _FINISH_REASONS.get(str(stop_reason), FinishReason.STOP)
    if found in {FinishReason.STOP, FinishReason.TOOL_CALLS}:
        return FinishReason.TOOL_CALLS if has_calls else FinishReason.STOP
    return found


def extra_of(ending: Json) -> Json:
    """Returns the further fields of a choice: the stop reason where OpenAI has none for it, with its details."""
    stop_reason = ending.get("stop_reason")
    if stop_reason not in _SHOWN_REASONS:
        return {}
    details = ending.get("stop_details")
    return {"stop_reason": stop_reason, **({"stop_details": details} if isinstance(details, dict) else {})}


def refusal_of(ending: Json) -> tuple[Refusal, ...]:
    """Returns Anthropic's words about why the model does not answer, where it has some."""
    details = ending.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    is_refusal = ending.get("stop_reason") == "refusal" and isinstance(explanation, str) and explanation
    return (Refusal(str(explanation)),) if is_refusal else ()


def read_block(block: Any) -> Block:
    """Returns one block. Raises KeyError, TypeError or AttributeError for one of another shape."""
    match block["type"]:
        case "text":
            return Text(read_text(block["text"]), citations=tuple(block.get("citations") or ()))
        case "thinking":
            signature = block.get("signature") or None
            return Reasoning(read_text(block["thinking"]), ReasoningKind.ANTHROPIC, signature)
        case "redacted_thinking":
            return Reasoning("", ReasoningKind.ANTHROPIC, encrypted=read_text(block["data"]))
        case "tool_use":
            arguments = orjson.dumps(block.get("input") or {}).decode()
            if block["name"] == ANSWER_TOOL:
                return Text(arguments)
            return ToolCall(read_text(block["id"]), read_text(block["name"]), arguments)
        case kind:
            return OtherBlock(read_text(kind), block)
