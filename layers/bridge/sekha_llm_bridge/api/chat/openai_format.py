"""Writes answers and chunks in OpenAI's format.

Reasoning is written as `reasoning_content`, and where a later request needs more of it than its text (a signature, a
part that only its provider can read), also as `reasoning_details` in OpenRouter's form. A vendor's own reasoning
fields are passed on as they are instead.
"""

from collections.abc import Iterable
from typing import Any

from sekha_llm_bridge.conversation import (
    AnswerChunk,
    Block,
    ChatAnswer,
    Choice,
    ChoiceDelta,
    FinishReason,
    OtherBlock,
    Reasoning,
    ReasoningKind,
    Refusal,
    Text,
    ToolCall,
    ToolCallDelta,
)

_REASONING_FIELDS = frozenset({"reasoning_content", "reasoning", "reasoning_details"})


def answer_body(answer: ChatAnswer) -> dict[str, Any]:
    """Returns the body of a complete answer, without its usage, its model and the receipt."""
    return {
        **answer.extra,
        "id": answer.answer_id,
        "object": "chat.completion",
        "created": answer.created,
        "choices": [choice_body(choice) for choice in answer.choices],
    }


def choice_body(choice: Choice) -> dict[str, Any]:
    """Returns a choice. `content` is text unless a tool is called; `finish_reason` is never null."""
    message = _message(choice)
    finish_reason = choice.finish_reason
    if not finish_reason:
        finish_reason = FinishReason.TOOL_CALLS if "tool_calls" in message else FinishReason.STOP
    return {
        "index": choice.position,
        **choice.extra,
        **({} if choice.stop_sequence is None else {"stop_sequence": choice.stop_sequence}),
        "message": message,
        "finish_reason": str(finish_reason),
        "logprobs": choice.logprobs,
    }


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, **choice.extra_message}
    texts = [block for block in choice.blocks if type(block) is Text]
    calls = [_call(block) for block in choice.blocks if type(block) is ToolCall]
    if texts or not calls:
        message["content"] = "".join(text.text for text in texts)
    if calls:
        message["tool_calls"] = calls
    if refusals := [block.text for block in choice.blocks if type(block) is Refusal]:
        message["refusal"] = "".join(refusals)
    if citations := [citation for text in texts for citation in text.citations]:
        message["citations"] = citations
    if others := [block.fields for block in choice.blocks if type(block) is OtherBlock]:
        message["other_content"] = others
    if not _REASONING_FIELDS & choice.extra_message.keys():
        message |= _reasoning_fields(choice.blocks)
    return message


def _call(call: ToolCall) -> dict[str, Any]:
    body = {"id": call.call_id, "type": call.kind, **call.extra}
    if call.kind == "function":
        body["function"] = {"name": call.name, **call.extra.get("function", {}), "arguments": call.arguments}
    return body


def _reasoning_fields(blocks: Iterable[Block], *, n_before: int = 0) -> dict[str, Any]:
    """Returns the fields for the reasoning among the blocks of one answer, or of one event of it. `n_before` is the
    number of its parts that have ended before.
    """
    thoughts = [block for block in blocks if type(block) is Reasoning]
    fields: dict[str, Any] = {}
    if text := "".join(thought.text for thought in thoughts):
        fields["reasoning_content"] = text
    if any(_needs_details(thought) for thought in thoughts):
        details = fields["reasoning_details"] = []
        for thought in thoughts:
            details.append(_detail(n_before, thought))
            n_before += ends_part(thought)
    return fields


def ends_part(thought: Reasoning) -> bool:
    """Returns whether a piece of reasoning ends a part of it: the next piece belongs to another one."""
    return thought.signature is not None or thought.encrypted is not None


def _needs_details(thought: Reasoning) -> bool:
    return bool(thought.signature or thought.encrypted or thought.kind is not ReasoningKind.UNKNOWN)


def _detail(index: int, thought: Reasoning) -> dict[str, Any]:
    """Source: OpenRouter's documentation, "Reasoning Tokens"."""
    detail: dict[str, Any] = {"type": "reasoning.text", "text": thought.text}
    if thought.encrypted is not None:
        detail = {"type": "reasoning.encrypted", "data": thought.encrypted}
    optional = {"signature": thought.signature, "id": thought.item_id}
    detail |= {name: value for name, value in optional.items() if value is not None}
    return {**detail, "format": thought.kind.value, "index": index}


def chunk_body(
    chunk: AnswerChunk, deltas: Iterable[ChoiceDelta], model_id: str, *, n_reasoning: int = 0
) -> dict[str, Any]:
    """Returns the body of a chunk with these deltas, without its usage. `n_reasoning` is the number of the parts of the
    reasoning that have ended before.
    """
    return {
        **chunk.extra,
        "id": chunk.answer_id,
        "object": "chat.completion.chunk",
        "created": chunk.created,
        "model": model_id,
        "choices": [delta_body(delta, n_reasoning) for delta in deltas],
    }


def delta_body(delta: ChoiceDelta, n_reasoning: int) -> dict[str, Any]:
    """Returns what a chunk adds to one choice. See `chunk_body`."""
    body: dict[str, Any] = {"role": "assistant"} if delta.is_first else {}
    if delta.text is not None or delta.is_first:
        body["content"] = delta.text
    if delta.tool_calls:
        body["tool_calls"] = [_call_delta(call) for call in delta.tool_calls]
    if delta.reasoning and not _REASONING_FIELDS & delta.extra_delta.keys():
        body |= _reasoning_fields(delta.reasoning, n_before=n_reasoning)
    if delta.refusal is not None:
        body["refusal"] = delta.refusal
    if delta.citations:
        body["citations"] = list(delta.citations)
    stop = {} if delta.stop_sequence is None else {"stop_sequence": delta.stop_sequence}
    return {
        "index": delta.position,
        **delta.extra,
        **stop,
        "delta": {**body, **delta.extra_delta} if delta.extra_delta else body,
        "finish_reason": delta.finish_reason,
        "logprobs": delta.logprobs,
    }


def _call_delta(call: ToolCallDelta) -> dict[str, Any]:
    body: dict[str, Any] = {"index": call.position, **call.extra}
    if call.call_id is not None:
        body["id"] = call.call_id
    if call.kind is not None:
        body["type"] = call.kind
    if call.kind in {None, "function"} and "custom" not in call.extra:
        name = {} if call.name is None else {"name": call.name}
        body["function"] = {**name, **call.extra.get("function", {}), "arguments": call.arguments}
    return body
