"""The chunks of streamed answers that have one choice, for all formats but OpenAI's."""

import secrets

import orjson

from sekha_llm_bridge.conversation import (
    NO_FIELDS,
    AnswerChunk,
    AnswerState,
    Choice,
    ChoiceDelta,
    Json,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
)
from sekha_llm_bridge.providers.base import malformed_answer
from sekha_llm_bridge.usage import Usage


def new_answer_id() -> str:
    """Returns a random id for an answer whose vendor sent none."""
    return f"chatcmpl-{secrets.token_hex(12)}"


def arguments_text(arguments: object) -> str:
    """Returns a call's arguments as text: some vendors send the JSON object itself, or null."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()


def whole_delta(choice: Choice) -> ChoiceDelta:
    """Returns what the only chunk of a whole answer adds."""
    texts = [block for block in choice.blocks if isinstance(block, Text)]
    calls = [block for block in choice.blocks if isinstance(block, ToolCall)]
    return ChoiceDelta(
        text="".join(block.text for block in texts),
        reasoning=tuple(block for block in choice.blocks if isinstance(block, Reasoning)),
        tool_calls=tuple(
            ToolCallDelta(position, call.arguments, call.call_id, call.kind, call.name)
            for position, call in enumerate(calls)
        ),
        citations=tuple(citation for block in texts for citation in block.citations),
        finish_reason=choice.finish_reason,
        stop_sequence=choice.stop_sequence,
    )


class SingleChoiceStream:
    """Makes the chunks of one answer. `state` is FINISHED after a chunk with a finish reason.

    `created` is in Unix seconds. The answer's id is random unless the provider has one.
    """

    def __init__(self, created: int, answer_id: str | None = None) -> None:
        self.answer_id = answer_id or new_answer_id()
        self.state = AnswerState.OPEN
        self._created = created
        self._has_begun = False

    def chunk(
        self,
        delta: ChoiceDelta | None = None,
        *,
        usage: Usage | None = None,
        provider_usage: Json | None = None,
        extra: Json = NO_FIELDS,
    ) -> AnswerChunk:
        """Returns the chunk that adds `delta`; without one, a chunk that has only a usage, or nothing (keep-alive)."""
        choices: tuple[ChoiceDelta, ...] = ()
        if delta is not None:
            choices = (delta if self._has_begun else delta._replace(is_first=True),)
            self._has_begun = True
            if delta.finish_reason is not None:
                self.state = AnswerState.FINISHED
        is_progress = delta is not None and (delta.finish_reason is not None or delta.has_content)
        return AnswerChunk(
            self.answer_id, self._created, choices, is_progress, self.state, usage, provider_usage, extra
        )

    def require_complete(self) -> None:
        """Raises `ProviderError` (MALFORMED_ANSWER) where the stream has ended before its finish reason."""
        if self.state is AnswerState.OPEN:
            raise malformed_answer("the provider's answer ended before its finish reason: it was cut off")
