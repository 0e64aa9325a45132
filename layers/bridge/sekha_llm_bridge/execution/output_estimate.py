"""The one estimate of an answer's output tokens, for answers whose provider did not count them."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.pricing import count_texts

_MAX_PENDING_CHARACTERS = 65_536


class OutputEstimate:
    """Estimates the tokens of one answer from its messages or, as they arrive, from its deltas. It keeps no more than
    a part of the text, because an answer may be longer than memory allows.
    """

    def __init__(self) -> None:
        self._counted_tokens = 0
        self._pending: list[str] = []
        self._pending_characters = 0

    def add(self, message: Mapping[str, Any]) -> None:
        """Adds a message or delta in OpenAI's format: its text, its reasoning and the arguments of its tool calls."""
        for text in _texts(message):
            self._pending.append(text)
            self._pending_characters += len(text)
        if self._pending_characters > _MAX_PENDING_CHARACTERS:
            self._count_pending()

    @property
    def tokens(self) -> int:
        """The estimate for everything that was added."""
        self._count_pending()
        return self._counted_tokens

    def _count_pending(self) -> None:
        self._counted_tokens += count_texts(["".join(self._pending)]).estimate
        self._pending, self._pending_characters = [], 0


def _texts(message: Mapping[str, Any]) -> list[str]:
    texts = [value for name, value in message.items() if isinstance(value, str) and name != "role"]
    calls = message.get("tool_calls") or ()
    return texts + [str((call.get("function") or {}).get("arguments") or "") for call in calls]
