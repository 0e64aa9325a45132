"""The body of an answer: Anthropic's message, with the receipt."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sekha_llm_bridge.api.messages.call_ids import AnswerCallIds
from sekha_llm_bridge.api.messages.reasoning_marks import thinking_block
from sekha_llm_bridge.api.messages.stop_reasons import Ending, ending_body
from sekha_llm_bridge.api.messages.tool_names import full_names
from sekha_llm_bridge.api.messages.usage import usage_body, usage_of_original
from sekha_llm_bridge.conversation import (
    NO_FIELDS,
    Block,
    ChatAnswer,
    Choice,
    Conversation,
    Json,
    OtherBlock,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from sekha_llm_bridge.providers.call_inputs import input_object

UNNAMED = "unnamed"
"""The name of a call that the model has not named: no server takes an empty one back."""

_ID_PREFIX = "msg_"
_REQUIRED: Mapping[str, Json] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
}
_CITATIONS = "_location"  # the ending of the types of Anthropic's citations


def message_body(answer: ChatAnswer, model_id: str, receipt: Json, conversation: Conversation) -> dict[str, Any]:
    """Returns the answer of a model to a request: as Anthropic sent it, where it did."""
    if (original := answer.original) is not None and original.wire_format is conversation.wire_format:
        usage = usage_of_original(original.fields.get("usage"), answer.usage, is_estimated=answer.usage_is_estimated)
        ids = AnswerCallIds(conversation)
        content = [complete_block(block, ids) for block in original.fields.get("content") or ()]
        frame = {**message_frame(answer.answer_id, model_id), "stop_sequence": None, **original.fields}
        return {**frame, "content": content, "model": model_id, "usage": usage, "bridge": receipt}
    choice = answer.choices[0]
    return {
        **message_frame(answer.answer_id, model_id),
        "content": list(content_of(choice.blocks, conversation)),
        **ending_body(_ending(choice), stop_sequences_of(conversation)),
        "usage": usage_body(answer.usage, is_estimated=answer.usage_is_estimated),
        "bridge": receipt,
    }


def complete_block(block: Json, ids: AnswerCallIds) -> Json:
    """Returns a block of a provider with the fields that Anthropic's clients require, and its call with a new id. Other
    servers of Anthropic's format leave some out, give the input of a call as a text, or count calls from 0 in every
    answer: llama.cpp begins a call without its input.
    """
    required = _REQUIRED.get(block.get("type", ""), NO_FIELDS)
    whole = {**required, **block}
    if block.get("type") == "tool_use":
        whole["id"] = ids.valid(block.get("id"))
    return {**whole, "input": input_object(whole["input"])} if "input" in required else whole


def message_frame(answer_id: str, model_id: str) -> dict[str, Any]:
    """Returns the fields that every message begins with."""
    message_id = answer_id if answer_id.startswith(_ID_PREFIX) else f"{_ID_PREFIX}{answer_id}"
    return {"id": message_id, "type": "message", "role": "assistant", "model": model_id}


def stop_sequences_of(conversation: Conversation) -> Collection[str]:
    """Returns the stop sequences of a request."""
    stop = conversation.parameters.get("stop")
    return stop if isinstance(stop, list) else ()


def content_of(blocks: Iterable[Block], conversation: Conversation) -> Iterable[dict[str, Any]]:
    """Yields the content blocks of an answer; texts without a letter are left out."""
    ids, names = AnswerCallIds(conversation), full_names(conversation)
    for block in blocks:
        match block:
            case Text(text) if text:
                yield {"type": "text", "text": text, "citations": own_citations(block.citations) or None}
            case Refusal(text) if text:
                yield {"type": "text", "text": text, "citations": None}
            case Reasoning():
                yield thinking_block(block)
            case ToolCall():
                call_id, name = ids.valid(block.call_id), names.get(block.name, block.name) or UNNAMED
                yield {"type": "tool_use", "id": call_id, "name": name, "input": input_object(block.arguments)}
            case OtherBlock():
                yield dict(block.fields)


def own_citations(citations: Iterable[Json]) -> list[Json]:
    """Returns the citations that are in Anthropic's form."""
    return [one for one in citations if str(one.get("type")).endswith(_CITATIONS)]


def _ending(choice: Choice) -> Ending:
    refusals = [block.text for block in choice.blocks if type(block) is Refusal]
    has_calls = any(type(block) is ToolCall for block in choice.blocks)
    refusal = "".join(refusals) if refusals else None
    return Ending(choice.finish_reason, has_calls, refusal, choice.stop_sequence, choice.extra)
