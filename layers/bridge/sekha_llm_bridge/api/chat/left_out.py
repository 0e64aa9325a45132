"""What of a request an adapter leaves out although it may change the answer: the caller gets a note on it.

The names are those of the field table.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sekha_llm_bridge.providers import AdapterCapabilities

_NO_VALUES: tuple[object, ...] = (None, False, [], {}, ["text"])
_PARTICIPANTS = frozenset({"system", "developer", "user", "assistant"})


def fields_left_out(body: Mapping[str, Any], capabilities: AdapterCapabilities) -> list[str]:
    """Returns the sorted names of the fields of a provider's request that an adapter leaves out with a note.

    Fields that the bridge does not know are among them. A field that certainly changes the answer is not: it excludes
    the model.
    """
    if capabilities.translated_fields is None:
        return []
    fields = {name for name, value in body.items() if value not in _NO_VALUES}
    left_out = fields - capabilities.translated_fields - capabilities.unnoted_fields
    return sorted(left_out | (capabilities.hints & frozenset(_nested_hints(body))))


def _nested_hints(body: Mapping[str, Any]) -> Iterator[str]:
    for message in body["messages"]:
        if message.get("name") and message.get("role") in _PARTICIPANTS:
            yield "messages.name"
        content = message.get("content")
        if isinstance(content, list) and any(map(_has_detail, content)):
            yield "messages.content.image_url.detail"
    schema = _object(_object(body.get("response_format")).get("json_schema"))
    if schema.get("description"):
        yield "response_format.json_schema.description"
    if any(_object(_object(tool).get("function")).get("strict") for tool in body.get("tools") or ()):
        yield "tools.function.strict"


def _has_detail(part: Mapping[str, Any]) -> bool:
    return _object(part.get("image_url")).get("detail") not in {None, "auto"}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
