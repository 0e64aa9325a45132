"""Writes answers in Ollama's format: what a line of a stream has, and the fields at the end of an answer.

Durations are measured: those of the model by Ollama itself where it answers, else by the bridge. Of an answer that was
not streamed, the bridge cannot see when the model began to write. A duration that nobody knows is 0. Source: Ollama's
`api/types.go`, version 0.32.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import (
    Block,
    ChatAnswer,
    FinishReason,
    Json,
    Original,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    WireFormat,
)
from sekha_llm_bridge.execution import ExecutionResult
from sekha_llm_bridge.usage import Usage

NOT_LOADED = "the bridge loads no models: a model is ready when it is asked"
"""The note on a request by which Ollama would load a model, or unload it."""

_NS_PER_S, _NS_PER_MS = 1_000_000_000, 1_000_000
_MODELS_DURATIONS = ("load_duration", "prompt_eval_duration", "eval_duration")
_CALL_LEFT_OUT = "a tool call was left out: its arguments are no JSON object"


class Part(NamedTuple):
    """A part of an answer, or a whole one. `tool_calls` are in Ollama's form."""

    text: str = ""
    thinking: str = ""
    tool_calls: Sequence[Json] = ()


def chat_fields(part: Part) -> dict[str, Any]:
    """Returns the fields of `/api/chat` for a part of an answer."""
    message: dict[str, Any] = {"role": "assistant", "content": part.text}
    if part.thinking:
        message["thinking"] = part.thinking
    if part.tool_calls:
        message["tool_calls"] = part.tool_calls
    return {"message": message}


def generate_fields(part: Part) -> dict[str, Any]:
    """Returns the fields of `/api/generate` for a part of an answer."""
    fields: dict[str, Any] = {"response": part.text}
    if part.thinking:
        fields["thinking"] = part.thinking
    return fields


PartFields = Callable[[Part], dict[str, Any]]


def line_fields(model_id: str | None, now: datetime, fields: Json, *, done: bool) -> dict[str, Any]:
    """Returns what every line has. `now` is in UTC."""
    created_at = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"model": model_id or "", "created_at": created_at, **fields, "done": done}


def whole_body(
    result: ExecutionResult[ChatAnswer],
    receipt: dict[str, Any],
    part_fields: PartFields,
    clock: Clock,
    started_s: float,
) -> dict[str, Any]:
    """Returns the body of an answer that is not streamed. `started_s` is the clock's reading at the request."""
    answer, choice = result.answer, result.answer.choices[0]
    calls, receipt = calls_and_receipt((block for block in choice.blocks if type(block) is ToolCall), receipt)
    part = Part(_text(choice.blocks), _thinking(choice.blocks), calls)
    total_s = clock.monotonic_s() - started_s
    answering_ns = min(result.receipt.attempts[-1].latency_ms * _NS_PER_MS, nanoseconds(total_s))
    measured = {"load_duration": nanoseconds(total_s) - answering_ns, "eval_duration": answering_ns}
    return {
        **line_fields(result.receipt.model_id, clock.now(), part_fields(part), done=True),
        **logprobs_fields(choice.logprobs),
        **end_fields(choice.finish_reason, answer.usage, total_s, measured, answer.original),
        "bridge": receipt,
    }


def end_fields(
    finish_reason: str | None, usage: Usage | None, total_s: float, measured_ns: Json, original: Original | None
) -> dict[str, Any]:
    """Returns the fields that end an answer. `measured_ns` are the bridge's own durations; Ollama's take precedence."""
    known = measured_ns
    if original is not None and original.wire_format is WireFormat.OLLAMA:
        sent = {name: original.fields.get(name) for name in _MODELS_DURATIONS}
        known = {name: value for name, value in sent.items() if type(value) is int and value >= 0} or known
    usage = usage or Usage(0)
    return {
        "done_reason": "stop" if finish_reason in (None, FinishReason.TOOL_CALLS) else finish_reason,
        "total_duration": nanoseconds(total_s),
        **{name: known.get(name, 0) for name in _MODELS_DURATIONS},  # clients with strict types need each of them
        "prompt_eval_count": usage.prompt_tokens,
        "eval_count": usage.completion_tokens,
    }


def nanoseconds(seconds: float) -> int:
    """Returns a duration as Ollama gives it."""
    return max(0, round(seconds * _NS_PER_S))


def calls_and_receipt(calls: Iterable[ToolCall], receipt: dict[str, Any]) -> tuple[list[Json], dict[str, Any]]:
    """Returns the calls in Ollama's form, and the receipt. A call whose arguments are no JSON object has no place
    there, for example one that was cut at the output limit: it is left out, with a note.
    """
    sent: list[Json] = []
    for call in calls:
        if (arguments := _json_object(call.arguments)) is None:
            receipt = {**receipt, "notes": [*receipt["notes"], _CALL_LEFT_OUT]}
        else:
            function = {"index": len(sent), "name": call.name, "arguments": arguments}
            sent.append({"id": call.call_id or "", "function": function})
    return sent, receipt


def logprobs_fields(logprobs: Json | None) -> dict[str, Any]:
    """Returns the log probabilities in Ollama's form, where there are some."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    items = [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    found = [{name: value for name, value in item.items() if value not in (None, [])} for item in items]
    return {"logprobs": found} if found else {}


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _text(blocks: Iterable[Block]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, Text | Refusal))


def _thinking(blocks: Iterable[Block]) -> str:
    return "".join(block.text for block in blocks if type(block) is Reasoning)
