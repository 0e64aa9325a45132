"""Translates Converse's answers. Source: Amazon Bedrock API Reference, "ConverseResponse", "TokenUsage"."""

from typing import Any

import orjson

from sekha_llm_bridge.conversation import (
    Block,
    ChatAnswer,
    Choice,
    FinishReason,
    Json,
    Reasoning,
    ReasoningKind,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.base import malformed_answer, read_text
from sekha_llm_bridge.providers.bedrock.models import family_of
from sekha_llm_bridge.providers.bedrock.request import OUTPUT_TOOL
from sekha_llm_bridge.providers.single_choice import new_answer_id
from sekha_llm_bridge.providers.token_counts import read_count, usage_in_openais_spelling
from sekha_llm_bridge.usage import Usage

_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filtered": FinishReason.CONTENT_FILTER,
}
_MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})


def translate_chat_answer(body: Json, model_id: str, *, created: int, has_output_tool: bool = False) -> ChatAnswer:
    """Returns the answer. `created` is in Unix seconds. `has_output_tool`: the input of `OUTPUT_TOOL` is its text.

    Raises `ProviderError`: CONTENT_REFUSED where a guardrail has blocked it, MALFORMED_ANSWER for one that the model
    could not write, and KeyError, TypeError and others for another shape.
    """
    reason = read_text(body["stopReason"])
    usage = read_usage(body.get("usage"))
    if (failure := failure_of_stop(reason)) is not None:
        raise failure.with_billing(usage)
    blocks = _blocks(body["output"]["message"]["content"], reasoning_kind(model_id))
    if has_output_tool:
        blocks = _with_output_as_text(blocks)
    has_calls = any(isinstance(block, ToolCall) for block in blocks)
    choice = Choice(
        0,
        tuple(blocks),
        finish_reason(reason, has_calls=has_calls),
        stop_sequence=stop_sequence(body),
    )
    return ChatAnswer(new_answer_id(), created, (choice,), usage, provider_usage=provider_usage(usage))


def reasoning_kind(model_id: str) -> ReasoningKind:
    """Returns whose reasoning a model's is. Claude's signatures are valid at Anthropic, too (its documentation)."""
    return ReasoningKind.ANTHROPIC if family_of(model_id).is_claude else ReasoningKind.BEDROCK


def failure_of_stop(reason: str) -> ProviderError | None:
    """Returns the failure that a `stopReason` stands for; None for the end of a good answer. It may be billed."""
    if reason == "guardrail_intervened":
        message = "the guardrail of the provider has blocked the prompt or the answer"
        return ProviderError(FailureKind.CONTENT_REFUSED, message, provider_status=200, may_be_billed=True)
    if reason in _MALFORMED:
        return malformed_answer(f"the model could not write its answer ({reason})")
    return None


def finish_reason(reason: str, *, has_calls: bool) -> str:
    """Returns OpenAI's finish reason; an unknown reason as it is. `has_calls`: the answer has calls for the caller."""
    found = _FINISH_REASONS.get(reason, reason)
    if has_calls and found == FinishReason.STOP:
        return FinishReason.TOOL_CALLS
    return FinishReason.STOP if found == FinishReason.TOOL_CALLS and not has_calls else found


def stop_sequence(body: Json) -> str | None:
    """Returns the text at which the answer stopped, which Claude reports in its own fields."""
    fields = body.get("additionalModelResponseFields")
    if not isinstance(fields, dict):
        return None
    delta = fields.get("delta")
    found = fields.get("stop_sequence") or (delta.get("stop_sequence") if isinstance(delta, dict) else None)
    return found if isinstance(found, str) else None


def read_usage(usage: object) -> Usage | None:
    """Returns the token counts; None where they are missing. `inputTokens` does not include cached tokens.

    Source: Amazon Bedrock User Guide, "Prompt caching for faster model inference".
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = read_count(usage.get("inputTokens")), read_count(usage.get("outputTokens"))
    if prompt is None or completion is None:
        return None
    cached = read_count(usage.get("cacheReadInputTokens")) or 0
    written = read_count(usage.get("cacheWriteInputTokens")) or 0
    details = usage.get("cacheDetails")
    rows = [row for row in details if isinstance(row, dict)] if isinstance(details, list) else []
    return Usage(
        prompt + cached + written,
        completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        hour_cache_write_tokens=sum(read_count(row.get("inputTokens")) or 0 for row in rows if row.get("ttl") == "1h"),
    )


def provider_usage(usage: Usage | None) -> dict[str, Any] | None:
    """Returns the counts in OpenAI's spelling."""
    return None if usage is None else usage_in_openais_spelling(usage)


def _blocks(contents: Any, kind: ReasoningKind) -> list[Block]:
    blocks: list[Block] = []
    for content in contents:
        match content:
            case {"text": text}:
                blocks.append(Text(read_text(text)))
            case {"toolUse": call}:
                arguments = orjson.dumps(call.get("input", {})).decode()
                blocks.append(ToolCall(read_text(call["toolUseId"]), read_text(call["name"]), arguments))
            case {"reasoningContent": {"reasoningText": reasoning}}:
                blocks.append(Reasoning(read_text(reasoning["text"]), kind, signature=reasoning.get("signature")))
            case {"reasoningContent": {"redactedContent": encrypted}}:
                blocks.append(Reasoning("", kind, encrypted=read_text(encrypted)))
            case {"citationsContent": {"content": parts} as cited}:
                text = "".join(part.get("text", "") for part in parts)
                blocks.append(Text(text, citations=tuple(cited.get("citations") or ())))
            case dict():  # of a later version
                pass
            case _:
                raise TypeError("not a content block")
    return blocks


def _with_output_as_text(blocks: list[Block]) -> list[Block]:
    """Returns the answer with the input of `OUTPUT_TOOL` as its only text."""
    outputs = [block for block in blocks if isinstance(block, ToolCall) and block.name == OUTPUT_TOOL]
    if not outputs:
        return blocks
    others = [block for block in blocks if block not in outputs and not isinstance(block, Text)]
    reasoning = [block for block in others if isinstance(block, Reasoning)]
    return [*reasoning, Text(outputs[0].arguments), *(block for block in others if block not in reasoning)]
