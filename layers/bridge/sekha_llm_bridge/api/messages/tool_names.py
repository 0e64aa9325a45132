"""Names of tools for other formats. Anthropic takes 128 characters, OpenAI, Gemini and Bedrock 64: longer names are
shortened for the model, and an answer has them as the request has.
"""

import hashlib
from collections.abc import Mapping

from sekha_llm_bridge.conversation import Conversation

_MAX_CHARACTERS = 64
_N_KEPT = 55


def short_name(name: str) -> str:
    """Returns a name that every format takes: of a long one, the beginning and a hash."""
    if len(name) <= _MAX_CHARACTERS:
        return name
    return f"{name[:_N_KEPT]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def full_names(conversation: Conversation) -> Mapping[str, str]:
    """Returns the names of a request's tools that have been shortened, by their short names."""
    tools = conversation.original.fields.get("tools") if conversation.original is not None else None
    names = [str(tool.get("name")) for tool in tools or ()]
    return {short_name(name): name for name in names if len(name) > _MAX_CHARACTERS}
