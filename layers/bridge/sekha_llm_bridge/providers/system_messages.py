"""System messages in the middle of a conversation, for models that take them only at its beginning: they become a part
of the user's message there, in tags.
"""

from collections.abc import Sequence
from typing import Any

WireMessage = dict[str, Any]
"""A message of OpenAI's or of Anthropic's format: a role, and a text or a list of parts as its content."""

SYSTEM_ROLES = frozenset({"system", "developer"})


def in_tags(text: str) -> str:
    """Returns the text of a system message as a part of the user's."""
    return f"<system_message>\n{text}\n</system_message>"


def with_system_as_user(messages: Sequence[WireMessage], *, n_leading: int = 0) -> list[WireMessage]:
    """Returns the messages with those of the system, except the first `n_leading`, as the user's. They are joined with
    a message of the user before or after them: some models require that the roles alternate.
    """
    found: list[WireMessage] = list(messages[:n_leading])
    is_last_changed = False
    for message in messages[n_leading:]:
        is_system = message.get("role") in SYSTEM_ROLES
        sent = {**message, "role": "user", "content": [*map(_in_tags, _parts(message))]} if is_system else message
        is_joined = (is_system or is_last_changed) and sent["role"] == "user"
        if is_joined and len(found) > n_leading and found[-1].get("role") == "user":
            found[-1] = {**found[-1], "content": [*_parts(found[-1]), *_parts(sent)]}
        else:
            found.append(sent)
        is_last_changed = is_system
    return found


def _parts(message: WireMessage) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content or ""}]


def _in_tags(part: Any) -> Any:
    text = part.get("text") if isinstance(part, dict) else None
    return {**part, "text": in_tags(text)} if isinstance(text, str) else part
