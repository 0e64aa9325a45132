"""Gives an answer the form that the caller requests, in one of three ways.

- The model's own structured output (`output_config.format`), where the model has it. Anthropic requires that objects
  are closed: an object without `additionalProperties` is closed, which every answer to the open schema may be, too.
- A tool whose input is the answer, and which the model must call; `response` and `stream` make a text of the call. With
  tools of the caller beside it, the model must call one of them all.
- An instruction in `system`: where a tool cannot be forced (while the model thinks, and in models that take no forced
  tool), where the schema is not that of an object, and for `json_object`: without a schema there is nothing to enforce,
  and a tool without parameters is often called with an empty input.

Where the caller forces a call of a tool of its own, there is no text whose form could matter. A server that ignores the
answer tool (llama.cpp without tools) is not suitable: its text has another form.

Source: platform.claude.com, "Structured outputs", "Extended thinking".
"""

from typing import Any

import orjson

from sekha_llm_bridge.conversation import Conversation, Json, OutputFormat, OutputFormatKind, ToolChoiceMode
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.anthropic.blocks import unsuitable
from sekha_llm_bridge.providers.anthropic.models import ModelTraits
from sekha_llm_bridge.providers.anthropic.schemas import closed_schema
from sekha_llm_bridge.usage import Usage

ANSWER_TOOL = "bridge_json_answer"
"""The name of the tool whose input is the answer."""

_TOOL_DESCRIPTION = "Gives the answer to the user. Always answer by calling this tool."
_INSTRUCTION = "Answer with one JSON {} only, without any other text and without a code fence."
_SCHEMA_PART = " It must match this JSON schema: {}"

Payload = dict[str, Any]


def with_output_format(
    payload: Payload, conversation: Conversation, traits: ModelTraits, *, is_thinking: bool
) -> Payload:
    """Returns the request with what gives its answer the requested form.

    Raises `ProviderError` (CANDIDATE_UNSUITABLE) for another form than text and JSON.
    """
    form = conversation.output_format
    if form is None or form.kind is OutputFormatKind.TEXT or conversation.forces_call:
        return payload
    if form.kind is OutputFormatKind.OTHER:
        raise unsuitable("Anthropic has no such response_format", "response_format")
    if form.schema is None:
        return with_instruction(payload, None)
    if traits.has_structured_outputs:
        output_config = {**payload.get("output_config", {}), "format": _native_format(form.schema)}
        return {**payload, "output_config": output_config}
    return without_native_format(payload, form, can_force_tool=traits.takes_forced_tools and not is_thinking)


def without_native_format(payload: Payload, form: OutputFormat, *, can_force_tool: bool) -> Payload:
    """Returns the request with an answer tool, or with an instruction."""
    if can_force_tool and form.schema is not None and form.schema.get("type") == "object":
        return _with_answer_tool(payload, form)
    return with_instruction(payload, form.schema)


def _native_format(schema: Json) -> Json:
    return {"type": "json_schema", "schema": closed_schema(schema)}


def forces_answer_tool(payload: Payload) -> bool:
    """Returns whether an answer to the request must begin with a call."""
    return any(tool.get("name") == ANSWER_TOOL for tool in payload.get("tools") or ())


def ignored_answer_tool(usage: Usage | None) -> ProviderError:
    """Returns the error for an answer without the call that the request requires. The provider bills it."""
    return ProviderError(
        FailureKind.CANDIDATE_UNSUITABLE,
        "the server has ignored the tool that gives the answer its form",
        provider_status=200,
        param="response_format",
        usage=usage,
        may_be_billed=True,
        unsupported_feature="response_format",
    )


def _with_answer_tool(payload: Payload, form: OutputFormat) -> Payload:
    tool = {"name": ANSWER_TOOL, "description": form.description or _TOOL_DESCRIPTION, "input_schema": form.schema}
    others = payload.get("tools", [])
    may_call_others = bool(others) and payload.get("tool_choice", {}).get("type") != ToolChoiceMode.NONE.value
    choice: dict[str, Any] = {"type": "any"} if may_call_others else {"type": "tool", "name": ANSWER_TOOL}
    if not may_call_others or payload.get("tool_choice", {}).get("disable_parallel_tool_use"):
        choice["disable_parallel_tool_use"] = True
    return {**payload, "tools": [*others, tool], "tool_choice": choice}


def with_instruction(payload: Payload, schema: Json | None) -> Payload:
    """Returns the request with an instruction after its system prompt."""
    text = _INSTRUCTION.format("object" if schema is None else "value")
    if schema is not None:
        text += _SCHEMA_PART.format(orjson.dumps(schema).decode())
    system = payload.get("system") or ""
    if isinstance(system, str):
        return {**payload, "system": f"{system}\n\n{text}".strip()}
    return {**payload, "system": [*system, {"type": "text", "text": text}]}
