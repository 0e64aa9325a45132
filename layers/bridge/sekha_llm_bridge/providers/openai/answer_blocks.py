"""Makes regular messages and deltas in OpenAI's format into blocks and deltas of the internal format."""

from typing import Any

from sekha_llm_bridge.conversation import (
    NO_FIELDS,
    Block,
    Choice,
    ChoiceDelta,
    Json,
    Reasoning,
    ReasoningKind,
    Refusal,
    Text,
    ToolCall,
    ToolCallDelta,
)

_KINDS = {kind.value: kind for kind in ReasoningKind}
_CHOICE_FIELDS = frozenset({"index", "message", "delta", "finish_reason", "logprobs"})
_PLAIN_DELTAS = ({"content"}, {"role", "content"})


def choice_of(choice: dict[str, Any]) -> Choice:
    """Returns a choice of a complete answer, whose message is regular."""
    message = dict(choice["message"])
    message.pop("role", None)
    text, refusal, calls = message.pop("content", None), message.pop("refusal", None), message.pop("tool_calls", ())
    blocks: list[Block] = [*_reasoning(message)]
    if text is not None:
        blocks.append(Text(text))
    if isinstance(refusal, str) and refusal:
        blocks.append(Refusal(refusal))
    blocks += [_call(call) for call in calls]
    return Choice(
        position=choice["index"],
        blocks=tuple(blocks),
        finish_reason=choice["finish_reason"],
        logprobs=choice.get("logprobs"),
        extra_message=message or NO_FIELDS,
        extra=_others(choice),
    )


def delta_of(choice: dict[str, Any]) -> ChoiceDelta:
    """Returns a choice of a chunk, whose delta is regular."""
    delta = choice["delta"]
    if delta.keys() in _PLAIN_DELTAS and len(choice) <= len(_CHOICE_FIELDS) - 1:
        return ChoiceDelta(
            choice["index"],
            "role" in delta,
            delta["content"],
            finish_reason=choice["finish_reason"],
            logprobs=choice.get("logprobs"),
            extra=_others(choice),
        )
    rest = dict(delta)
    is_first = rest.pop("role", None) is not None
    return ChoiceDelta(
        position=choice["index"],
        is_first=is_first,
        text=rest.pop("content", None),
        reasoning=_reasoning(rest),
        refusal=rest.pop("refusal") if isinstance(rest.get("refusal"), str) else None,
        tool_calls=tuple(_call_delta(call) for call in rest.pop("tool_calls", ())),
        finish_reason=choice["finish_reason"],
        logprobs=choice.get("logprobs"),
        extra_delta=rest or NO_FIELDS,
        extra=_others(choice),
    )


def _others(choice: Json) -> Json:
    if choice.keys() <= _CHOICE_FIELDS:
        return NO_FIELDS
    return {name: value for name, value in choice.items() if name not in _CHOICE_FIELDS}


def _reasoning(fields: dict[str, Any]) -> tuple[Reasoning, ...]:
    """Returns the reasoning that a message or delta has. OpenRouter's fields stay beside it, as they were sent."""
    details = fields.get("reasoning_details")
    if isinstance(details, list) and details:
        return tuple(_detail(one) for one in details if isinstance(one, dict))
    if isinstance(text := fields.get("reasoning_content"), str) and text:
        del fields["reasoning_content"]
        return (Reasoning(text),)
    text = fields.get("reasoning")
    return (Reasoning(text),) if isinstance(text, str) and text else ()


def _detail(sent: Json) -> Reasoning:
    text, data = sent.get("text") or sent.get("summary"), sent.get("data")
    signature, item_id = sent.get("signature"), sent.get("id")
    return Reasoning(
        text if isinstance(text, str) else "",
        _KINDS.get(str(sent.get("format")), ReasoningKind.UNKNOWN),
        signature=signature if isinstance(signature, str) else None,
        encrypted=data if isinstance(data, str) else None,
        item_id=item_id if isinstance(item_id, str) else None,
    )


def _call(sent: dict[str, Any]) -> ToolCall:
    function = sent.get("function")
    rest = {name: value for name, value in sent.items() if name not in {"id", "type", "function"}}
    if not isinstance(function, dict):
        return ToolCall(sent["id"], "", "", sent["type"], extra=rest or NO_FIELDS)
    inner = {name: value for name, value in function.items() if name not in {"name", "arguments"}}
    extra = {**rest, "function": inner} if inner else rest or NO_FIELDS
    return ToolCall(sent["id"], function.get("name") or "", function["arguments"], sent["type"], extra=extra)


def _call_delta(sent: dict[str, Any]) -> ToolCallDelta:
    function = sent.get("function") or {}
    rest = {name: value for name, value in sent.items() if name not in {"id", "type", "function", "index"}}
    inner = {name: value for name, value in function.items() if name not in {"name", "arguments"}}
    return ToolCallDelta(
        sent["index"],
        function.get("arguments") or "",
        sent.get("id"),
        sent.get("type"),
        function.get("name"),
        {**rest, "function": inner} if inner else rest or NO_FIELDS,
    )
