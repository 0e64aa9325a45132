"""Schemas of tools for servers that do not know each keyword. Source: Gemini's error "Unknown name"."""

import re
from typing import Any

from sekha_llm_bridge.errors import Failure

Payload = dict[str, Any]


def without_unknown_keywords(payload: Payload, failure: Failure) -> Payload | None:
    """Drops the keywords that Gemini does not know from the schemas of tools."""
    names = frozenset(re.findall(r'unknown name \\?"([^"\\]+)', failure.provider_text, re.IGNORECASE))
    tools = payload.get("tools") or []
    changed = [_without_keywords_in_tool(tool, names) for tool in tools]
    return None if changed == tools else {**payload, "tools": changed}


def _without_keywords_in_tool(tool: Payload, names: frozenset[str]) -> Payload:
    function = tool.get("function") or {}
    if not isinstance(schema := function.get("parameters"), dict):
        return tool
    return {**tool, "function": {**function, "parameters": _without_keywords(schema, names)}}


def _without_keywords(schema: Any, names: frozenset[str]) -> Any:
    """Returns a schema without these keywords. What is in `properties` has names of its own."""
    if isinstance(schema, list):
        return [_without_keywords(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {key: _without_keywords(item, names) for key, item in value.items()}
        if name == "properties" and isinstance(value, dict)
        else _without_keywords(value, names)
        for name, value in schema.items()
        if name not in names
    }
