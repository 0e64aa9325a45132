"""The one estimate of an answer's output tokens, for answers whose provider did not count them."""

from sekha_llm_bridge.conversation import Choice, ChoiceDelta, Reasoning, Refusal, Text, ToolCall
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

    def add(self, delta: ChoiceDelta) -> None:
        """Adds a delta: its text, its reasoning, the arguments of its tool calls, and other texts."""
        self._add(delta.text, delta.refusal)
        if delta.reasoning or delta.tool_calls or delta.extra_delta:
            self._add(*(part.text for part in delta.reasoning), *(call.arguments for call in delta.tool_calls))
            self._add(*delta.extra_delta.values())

    def add_message(self, choice: Choice) -> None:
        """Adds a whole message."""
        for block in choice.blocks:
            match block:
                case Text() | Refusal() | Reasoning():
                    self._add(block.text)
                case ToolCall():
                    self._add(block.arguments)
        self._add(*choice.extra_message.values())

    def _add(self, *texts: object) -> None:
        for text in texts:
            if isinstance(text, str):
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
