"""The ids of the calls in an answer. Anthropic takes only some letters, and no id twice in a conversation."""

import secrets

from sekha_llm_bridge.conversation import Conversation, ToolCall
from sekha_llm_bridge.providers.call_ids import anthropic_call_id


class AnswerCallIds:
    """Gives each call of one answer an id that no earlier call of the conversation has."""

    def __init__(self, conversation: Conversation) -> None:
        blocks = (block for message in conversation.messages for block in message.blocks)
        self._used = {block.call_id for block in blocks if type(block) is ToolCall}

    def valid(self, call_id: str | None) -> str:
        """Returns the model's own id where it is one that Anthropic takes, else another one."""
        found = anthropic_call_id(call_id) if call_id else ""
        if not found or found in self._used:
            found = f"toolu_{secrets.token_hex(12)}"
        self._used.add(found)
        return found
