"""The schemas of tools, as other vendors' servers require them. Anthropic takes them with less.

Sources: OpenAI's errors "object schema missing properties" and "array schema missing items"; Gemini's "Unknown name
\\"$schema\\"".
"""

from typing import Any

from sekha_llm_bridge.conversation import Json

_DIALECT = "$schema"


def whole_schema(schema: Json) -> Json:
    """Returns a schema with the same meaning: of an object with `properties`, whose arrays have `items`, and without
    the name of its dialect.
    """
    named = {name: _with_items(value) for name, value in schema.items() if name != _DIALECT and value is not None}
    return {**named, "type": "object", "properties": named.get("properties", {})}


def _with_items(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_items(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _with_items(item) for name, item in value.items()}
    kind = value.get("type")
    is_array = kind == "array" or (isinstance(kind, list) and "array" in kind)
    return {**changed, "items": {}} if is_array and "items" not in value else changed
