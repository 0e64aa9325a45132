"""Schemas of tools for servers that do not know each keyword, or cannot make a grammar of it.

Sources: Gemini's error "Unknown name"; llama.cpp's and LM Studio's "failed to parse grammar".
"""

import re
from typing import Any

from sekha_llm_bridge.errors import Failure

Payload = dict[str, Any]


_CONSTRAINTS = frozenset(
    {
        *("pattern", "format", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minProperties", "maxProperties"),
        *("propertyNames", "patternProperties", "not"),
    }
)


def without_constraints(payload: Payload) -> Payload | None:
    """Drops what limits the values in the schemas of tools; their types and names stay."""
    return _without_in_tools(payload, _CONSTRAINTS)


def without_unknown_keywords(payload: Payload, failure: Failure) -> Payload | None:
    """Drops the keywords that Gemini does not know from the schemas of tools."""
    names = frozenset(re.findall(r'unknown name \\?"([^"\\]+)', failure.provider_text, re.IGNORECASE))
    return _without_in_tools(payload, names)


def _without_in_tools(payload: Payload, names: frozenset[str]) -> Payload | None:
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
