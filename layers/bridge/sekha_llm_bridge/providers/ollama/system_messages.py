"""System messages in the middle of a conversation, for models of an Ollama that take them only at its beginning: they
become a part of the user's message there, in tags.

Source: ollama/ollama issue 17774: "system message must be at the beginning".
"""

from collections.abc import Sequence
from typing import Any

from sekha_llm_bridge.conversation import Conversation, WireFormat
from sekha_llm_bridge.providers.adaptation import Adaptation
from sekha_llm_bridge.providers.system_messages import in_tags

_ROLE = "system"


def _with_system_at_beginning(payload: dict[str, Any]) -> dict[str, Any] | None:
    sent: list[dict[str, Any]] = payload["messages"]
    n_leading = next((n for n, message in enumerate(sent) if message["role"] != _ROLE), len(sent))
    found = list(sent[:n_leading])
    is_last_changed = False
    for message in sent[n_leading:]:
        is_system = message["role"] == _ROLE
        changed = {**message, "role": "user", "content": in_tags(message["content"])} if is_system else message
        is_joined = (is_system or is_last_changed) and changed["role"] == "user"
        if is_joined and len(found) > n_leading and found[-1]["role"] == "user":
            changed = _joined(found.pop(), changed)
        found.append(changed)
        is_last_changed = is_system
    return None if found == sent else {**payload, "messages": found}


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    images = [*first.get("images", ()), *second.get("images", ())]
    joined = {**first, "content": "\n".join((first["content"], second["content"]))}
    return {**joined, "images": images} if images else joined


_ADAPTATIONS = (Adaptation(r"\bsystem message\b", _with_system_at_beginning),)


def system_adaptations(conversation: Conversation) -> Sequence[Adaptation]:
    """Returns the other form of a request of an inbound API whose clients add system messages later."""
    has_later_ones = conversation.wire_format not in {WireFormat.OLLAMA, WireFormat.OPENAI_CHAT}
    return _ADAPTATIONS if has_later_ones else ()
