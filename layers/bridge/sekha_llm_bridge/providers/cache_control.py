"""Cache marks in payloads of Anthropic's and of OpenAI's format, which write them alike: `cache_control` of the
request, of a block, a message, a tool or a call.

Sources: platform.claude.com, "Prompt caching"; OpenRouter's documentation, "Prompt Caching"; LiteLLM's, "Prompt
Caching".
"""

from collections.abc import Callable
from typing import Any

from sekha_llm_bridge.providers.adaptation import Adaptation, names_unknown

Payload = dict[str, Any]
Change = Callable[[Payload], Payload]

MARK = {"type": "ephemeral"}
"""A mark for the provider's default lifetime, which is five minutes."""

_NAME = "cache_control"
_MARKED_TEXT = frozenset({"type", "text", _NAME})
_KNOWN_IN_MARK = frozenset({"type", "ttl"})
_HOLDERS = ("system", "tools", "messages", "content", "source", "tool_calls", "function")
"""The fields in which marks can be. Others (schemas, arguments) are the caller's own data."""


def without_marks(payload: Payload) -> Payload | None:
    """Returns the payload without its cache marks; None where it has none."""
    return _changed(payload, _without_mark)


def _without_lifetimes(payload: Payload) -> Payload | None:
    """Returns the payload with marks for the default lifetime; None where no mark names another."""
    return _changed(payload, _without_lifetime)


def _without_mark_of_request(payload: Payload) -> Payload | None:
    return _without_mark(payload) if _NAME in payload else None


def _changed(payload: Payload, change: Change) -> Payload | None:
    changed = _everywhere(payload, change)
    return None if changed == payload else changed


def _everywhere(value: Any, change: Change) -> Any:
    if isinstance(value, list):
        return [_everywhere(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    changed = change(value)
    return {**changed, **{name: _everywhere(changed[name], change) for name in _HOLDERS if name in changed}}


def _without_mark(fields: Payload) -> Payload:
    """Returns the object without its mark. A content of one marked text becomes that text again."""
    texts = {name: text for name in ("system", "content") if (text := _marked_text(fields.get(name))) is not None}
    return {name: texts.get(name, value) for name, value in fields.items() if name != _NAME}


def _marked_text(content: Any) -> str | None:
    """Returns the text of a content that is one marked text, without other fields."""
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return None
    part = content[0]
    return part["text"] if part.keys() == _MARKED_TEXT and part["type"] == "text" else None


def _without_lifetime(fields: Payload) -> Payload:
    mark = fields.get(_NAME)
    if not isinstance(mark, dict) or "ttl" not in mark:
        return fields
    return {**fields, _NAME: {name: value for name, value in mark.items() if name != "ttl"}}


def _without_scopes(payload: Payload) -> Payload | None:
    """Returns the payload with marks that have only a type and a lifetime; None where no mark has more."""
    return _changed(payload, _without_scope)


def _without_scope(fields: Payload) -> Payload:
    mark = fields.get(_NAME)
    if not isinstance(mark, dict) or mark.keys() <= _KNOWN_IN_MARK:
        return fields
    return {**fields, _NAME: {name: value for name, value in mark.items() if name in _KNOWN_IN_MARK}}


# Only where the field itself is not known. A caller's fifth mark is the caller's to mend.
CACHE_ADAPTATIONS = (
    Adaptation(names_unknown(r"\bttl\b"), _without_lifetimes),
    Adaptation(names_unknown(r"\bcache_control\b"), _without_scopes),
    Adaptation(names_unknown(r"\bcache_control\b"), _without_mark_of_request),
    Adaptation(names_unknown(r"\bcache_control\b"), without_marks),
)
"""The other forms for a server that does not know a lifetime, another field of a mark, a mark of the whole request, or
any mark.
"""
