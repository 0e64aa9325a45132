"""Changes JSON schemas to what Anthropic takes where it enforces one.

Source: platform.claude.com, "Structured outputs".
"""

from typing import Any

_SUBSCHEMAS = frozenset({"items", "anyOf", "allOf", "oneOf", "additionalProperties"})
_NAMED_SUBSCHEMAS = frozenset({"properties", "$defs", "definitions"})


def closed_schema(schema: Any) -> Any:
    """Returns a schema whose objects with named properties take no others, unless it says that they do."""
    if isinstance(schema, list):
        return [closed_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed_part(name, value) for name, value in schema.items()}
    if isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def _closed_part(name: str, value: Any) -> Any:
    if name in _NAMED_SUBSCHEMAS and isinstance(value, dict):
        return {key: closed_schema(one) for key, one in value.items()}
    return closed_schema(value) if name in _SUBSCHEMAS else value
