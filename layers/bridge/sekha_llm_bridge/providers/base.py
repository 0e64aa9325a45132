"""The protocol of a provider adapter, and the calls, answers and chunks that every adapter takes and returns."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.usage import Usage

Json = Mapping[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class PriceCeiling:
    """The highest prices that a cost limit assumes, in USD per million tokens."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One chat request to one model.

    `request` is OpenAI's chat-completions object without `model`, `stream` and the bridge's own fields. `output_cap` is
    an output limit in tokens that the bridge adds because of a cost limit; None adds none. `context_tokens` is the
    context size that prompt and answer may need. `price_ceiling` is set under a cost limit, for vendors that may charge
    different prices for the same model.
    """

    model_id: str
    request: Json
    output_cap: int | None
    context_tokens: int
    price_ceiling: PriceCeiling | None = None


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A complete answer: `body` is OpenAI's chat completion.

    `usage` is None where the provider sent none; the caller may then replace it with an estimate.
    """

    body: dict[str, Any]
    usage: Usage | None
    usage_is_estimated: bool = False


class AnswerState(Enum):
    """The state of a streamed answer, by the finish reasons of its choices."""

    OPEN = "open"
    """At least one choice has no finish reason yet."""

    MAY_CONTINUE = "may_continue"
    """Every choice has a finish reason, but this provider has continued after one before: only the proper end of the
    stream confirms that the answer is complete."""

    FINISHED = "finished"
    """Every choice has a finish reason. Nothing but the usage can follow."""


@dataclass(frozen=True, slots=True)
class ChatChunk:
    """One event of a streamed answer: `body` is OpenAI's chunk without its `usage`.

    `is_progress`: the event has a part of the answer or a finish reason; keep-alive events have neither. `state` is the
    state of the answer after this event. `usage` holds the provider's token counts where the event has them, and
    `provider_usage` the same object as the provider sent it.
    """

    body: dict[str, Any]
    is_progress: bool
    state: AnswerState = AnswerState.OPEN
    usage: Usage | None = None
    provider_usage: dict[str, Any] | None = None

    @property
    def is_usage_only(self) -> bool:
        """Whether this is the event after the end of the answer that has only its usage."""
        return self.state is not AnswerState.OPEN and self.usage is not None and not self.body["choices"]


def has_content(delta: Json) -> bool:
    """Returns whether a chunk's delta has any part of an answer: text, reasoning, a tool call or an unknown field."""
    return any(value for name, value in delta.items() if name != "role")


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """One embedding request to one model: `texts` in order; `dimensions` only where shorter vectors are requested.

    `vendor_fields` are the request's fields that the bridge does not know, such as `input_type`; an adapter of OpenAI's
    format sends them as they are.
    """

    model_id: str
    texts: Sequence[str]
    dimensions: int | None = None
    user: str | None = None
    vendor_fields: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """`vectors` has the shape (n_texts, dimension), in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How many texts a provider embeds in one request, and how many tokens in all of them; None is no limit."""

    max_texts: int
    max_tokens: int | None = None


def malformed_answer(message: str, usage: Usage | None = None) -> ProviderError:
    """Returns the error for a success status with an unusable answer. `usage` is what the provider bills for it."""
    return ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=200, usage=usage)


@contextmanager
def malformed_answer_guard(usage: Usage | None) -> Iterator[None]:
    """Turns exceptions about the shape of a provider's JSON into MALFORMED_ANSWER, billed with `usage`.

    Without it, a value of an unexpected type deep inside the answer would look like a fault of the bridge.
    """
    try:
        yield
    except ProviderError as exc:
        if exc.kind is not FailureKind.MALFORMED_ANSWER:
            raise
        raise exc.with_billing(usage) from exc
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise malformed_answer("the provider's answer is not of the shape that its API promises", usage) from exc


class Provider(Protocol):
    """One configured provider. Every failure is a `ProviderError`; adapters do not retry."""

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """Returns the model's complete answer. The provider bills it."""
        ...

    def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[ChatChunk]:
        """Yields the answer's chunks as they arrive. The provider bills it.

        The generator ends only when the answer is complete: every choice has its finish reason. `timeout_s` limits the
        connection and each read, not the whole answer: the caller limits that by closing the generator, which closes
        the connection, so that the provider stops, too.
        """
        ...

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """Returns one vector for each text. The provider bills it."""
        ...

    @property
    def embedding_limits(self) -> BatchLimits:
        """The size limits of one call of `embed`; see `embed_in_batches`."""
        ...

    async def probe(self, *, timeout_s: float) -> None:
        """Returns when the provider answers a free request (its model list); raises otherwise."""
        ...
