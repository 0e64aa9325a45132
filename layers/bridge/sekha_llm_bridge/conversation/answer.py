"""A model's answer in the internal format, whole and in chunks."""

from enum import Enum, StrEnum
from typing import NamedTuple

from sekha_llm_bridge.conversation.blocks import NO_FIELDS, Block, Json, Original, Reasoning
from sekha_llm_bridge.usage import Usage


class FinishReason(StrEnum):
    """Why an answer ended, by OpenAI's names. Vendors of OpenAI's format have others, which stay as they are."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Choice(NamedTuple):
    """One of the answers that were requested.

    `extra_message` has the fields of the message that no block stands for, `extra` those of the choice.
    `stop_sequence` is the text at which the answer stopped, where the provider says it.
    """

    position: int
    blocks: tuple[Block, ...]
    finish_reason: str | None
    logprobs: Json | None = None
    stop_sequence: str | None = None
    extra_message: Json = NO_FIELDS
    extra: Json = NO_FIELDS


class ChatAnswer(NamedTuple):
    """A complete answer. `created` is in Unix seconds.

    `usage` is None where the provider sent none; the caller may then replace it with an estimate. `provider_usage` is
    the provider's own object. `extra` has other fields of the answer. `original` is the whole answer as the provider
    sent it, for an inbound API of the same format; None where the bridge has changed what it says. `left_out` names
    what of the request was left out, because the model does not take it.
    """

    answer_id: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage | None
    usage_is_estimated: bool = False
    provider_usage: Json | None = None
    extra: Json = NO_FIELDS
    original: Original | None = None
    left_out: tuple[str, ...] = ()


class AnswerState(Enum):
    """The state of a streamed answer, by the finish reasons of its choices."""

    OPEN = "open"
    """At least one choice has no finish reason yet."""

    MAY_CONTINUE = "may_continue"
    """Every choice has a finish reason, but this provider has continued after one before: only the proper end of the
    stream confirms that the answer is complete."""

    FINISHED = "finished"
    """Every choice has a finish reason. Nothing but the usage can follow."""


class ToolCallDelta(NamedTuple):
    """A fragment of a tool call. `position` numbers the calls of a choice from 0, in the order in which they begin.

    `call_id`, `kind` and `name` are in the first fragment of a call only; the fragments of `arguments` are joined.
    """

    position: int
    arguments: str = ""
    call_id: str | None = None
    kind: str | None = None
    name: str | None = None
    extra: Json = NO_FIELDS


class ChoiceDelta(NamedTuple):
    """What one event adds to one choice.

    `is_first`: the first event of this choice. `text` and `refusal` are joined. `reasoning`: the texts are joined until
    a signature ends a part. `extra_delta` has other fields of OpenAI's delta, `extra` those of its choice.
    """

    position: int = 0
    is_first: bool = False
    text: str | None = None
    reasoning: tuple[Reasoning, ...] = ()
    refusal: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()
    citations: tuple[Json, ...] = ()
    finish_reason: str | None = None
    logprobs: Json | None = None
    stop_sequence: str | None = None
    extra_delta: Json = NO_FIELDS
    extra: Json = NO_FIELDS

    @property
    def has_content(self) -> bool:
        """Whether it has any part of an answer: text, reasoning, a tool call or an unknown field."""
        return bool(self.text or self.tool_calls or self.reasoning or self.refusal or self.citations) or any(
            self.extra_delta.values()
        )


class AnswerChunk(NamedTuple):
    """One event of a streamed answer.

    `is_progress`: the event has a part of the answer or a finish reason; keep-alive events have neither. `state` is the
    state of the answer after this event. `usage` holds the provider's token counts where the event has them, and
    `provider_usage` the same object as the provider sent it. `extra` has other fields of the event. `original` is the
    event as the provider sent it, for an inbound API of the same format. `left_out` is that of `ChatAnswer`, in the
    first chunk only.
    """

    answer_id: str
    created: int
    choices: tuple[ChoiceDelta, ...]
    is_progress: bool
    state: AnswerState = AnswerState.OPEN
    usage: Usage | None = None
    provider_usage: Json | None = None
    extra: Json = NO_FIELDS
    original: Original | None = None
    left_out: tuple[str, ...] = ()

    @property
    def is_usage_only(self) -> bool:
        """Whether this is the event after the end of the answer that has only its usage."""
        return self.state is not AnswerState.OPEN and self.usage is not None and not self.choices
