"""Translates tools and `tool_choice` into Anthropic's.

Source: platform.claude.com, "Define tools", "Strict tool use", "Parallel tool use".
"""

import re
from typing import Any

from sekha_llm_bridge.conversation import Conversation, Function, Json, OtherTool, Tool, ToolChoice, ToolChoiceMode
from sekha_llm_bridge.providers.anthropic.blocks import cache_control, unsuitable
from sekha_llm_bridge.providers.anthropic.models import ModelTraits
from sekha_llm_bridge.providers.anthropic.schemas import closed_schema

_OWN_TOOL = r"[a-z_]+_20\d{6}|mcp_toolset"  # for example `web_search_20250305`
_FORCED = frozenset({ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED})


def wire_tools(conversation: Conversation) -> list[dict[str, Any]]:
    """Returns the tools. Raises `ProviderError` (CANDIDATE_UNSUITABLE) for a type that Anthropic does not have."""
    return [_tool(tool) for tool in conversation.tools]


def _tool(tool: Tool) -> dict[str, Any]:
    if isinstance(tool, OtherTool):
        if not re.fullmatch(_OWN_TOOL, tool.kind):
            raise unsuitable(f"Anthropic has no tools of type {tool.kind:.40}", "tools")
        return dict(tool.fields)
    schema = _object_schema(tool)
    schema = closed_schema(schema) if tool.is_strict else schema
    translated: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description is not None:
        translated["description"] = tool.description
    if tool.is_strict:
        translated["strict"] = True
    if tool.cache is not None:
        translated["cache_control"] = cache_control(tool.cache)
    return translated


def _object_schema(tool: Function) -> Json:
    """Returns the schema of the parameters: Anthropic requires one, of type `object`."""
    schema = tool.parameters or {}
    return {**schema, "type": "object"} if schema else {"type": "object", "properties": {}}


def wire_tool_choice(conversation: Conversation, traits: ModelTraits) -> Json | None:
    """Returns the `tool_choice`; None where the default is meant.

    Raises `ProviderError` (CANDIDATE_UNSUITABLE) for a choice that Anthropic does not have, and for a forced one where
    the model takes none.
    """
    if not conversation.tools:
        return None
    choice = conversation.tool_choice or ToolChoice(ToolChoiceMode.AUTO)
    if choice.mode in _FORCED and not traits.takes_forced_tools:
        raise unsuitable("this model takes no tool_choice that forces a call", "tool_choice")
    is_sequential = conversation.is_parallel is False
    limit = {"disable_parallel_tool_use": True} if is_sequential else {}
    match choice.mode:
        case ToolChoiceMode.AUTO:
            return {"type": "auto", **limit} if limit or conversation.tool_choice else None
        case ToolChoiceMode.NONE:
            return {"type": "none"}
        case ToolChoiceMode.REQUIRED:
            return {"type": "any", **limit}
        case ToolChoiceMode.NAMED:
            return {"type": "tool", "name": choice.name, **limit}
        case ToolChoiceMode.OTHER:
            raise unsuitable("Anthropic has no such tool_choice", "tool_choice")
