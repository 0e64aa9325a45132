"""Empty objects that were sent as `[]`, as PHP writes each empty array: vendors refuse them.

Source: openai-php/client#262, prism-php/prism#315, nextcloud/integration_openai#243.
"""

from typing import Any

import orjson

_OBJECTS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_VALUES = frozenset({"default", "const", "enum", "examples", "example"})
"""Keywords that have a value of the caller's, in which a list is a list."""


def schema_with_objects(schema: Any) -> Any:
    """Returns the JSON schema of a function, with objects where it must have them; as it is, where it is nested too
    deeply to look.
    """
    if not _may_have_empty_list(schema):
        return schema
    try:
        return object_for_list(_with_objects(schema))
    except RecursionError:
        return schema


def object_for_list(value: Any) -> Any:
    """Returns an object for an empty list."""
    return {} if value == [] else value


def arguments_with_object(text: str) -> str:
    """Returns the arguments of a call, an object where there are none."""
    return "{}" if text.strip() == "[]" else text


def _may_have_empty_list(schema: Any) -> bool:
    """Returns whether it is worth looking at each part of a schema: few schemas have an empty list, and agents send
    dozens of schemas.
    """
    try:
        return b"[]" in orjson.dumps(schema)
    except TypeError:  # nested too deeply, or a number or a text that orjson does not write
        return True


def _with_objects(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_objects(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _part(name, item) for name, item in value.items()}


def _part(name: str, value: Any) -> Any:
    if name in _VALUES:
        return value
    if name not in _OBJECTS:
        return _with_objects(value)
    if isinstance(value, dict):
        return {key: object_for_list(_with_objects(item)) for key, item in value.items()}
    return object_for_list(_with_objects(value))
