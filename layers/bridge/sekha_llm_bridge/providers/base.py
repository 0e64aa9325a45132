"""What every adapter takes and gives, whatever its provider's wire format."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.usage import Usage

Json = Mapping[str, Any]
"""A JSON object in OpenAI's published shape."""


@dataclass(frozen=True, slots=True)
class PriceCeiling:
    """The dearest rates that a cost limit counts on, in USD per million tokens."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One chat request to one model.

    `request` is OpenAI's chat-completions object, without `model`, `stream` and the bridge's own fields.
    `output_cap` limits the answer in tokens where the bridge has a reason to (a cost limit); None leaves the
    request's own. `context_tokens` is how much room prompt and answer may need. `price_ceiling` is there under a cost
    limit, for providers that may charge more or less for one and the same model.
    """

    model_id: str
    request: Json
    output_cap: int | None
    context_tokens: int
    price_ceiling: PriceCeiling | None = None


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A whole answer in OpenAI's shape; `usage` is None where the provider sent none, until somebody estimates it."""

    body: dict[str, Any]
    usage: Usage | None
    usage_is_estimated: bool = False


@dataclass(frozen=True, slots=True)
class ChatChunk:
    """One event of a streamed answer: `body` is OpenAI's chunk without its usage.

    `is_progress` says whether it brings the answer on; what only keeps a connection busy does not.
    `has_finish_reasons` says that
    every choice has its finish reason by now, and `may_repeat_finish_reason` that this provider has gone on after one.
    `usage` is the
    provider's count where the event has one, and `provider_usage` the same in the provider's words.
    """

    body: dict[str, Any]
    is_progress: bool
    has_finish_reasons: bool = False
    may_repeat_finish_reason: bool = False
    usage: Usage | None = None
    provider_usage: dict[str, Any] | None = None

    @property
    def is_usage_only(self) -> bool:
        """Whether it is what comes after the end, and only counts."""
        return self.has_finish_reasons and self.usage is not None and not self.body["choices"]


def has_content(delta: Json) -> bool:
    """Whether a chunk's delta has any part of an answer: of text, thinking, a tool call, or of what else may come."""
    return any(value for name, value in delta.items() if name != "role")


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """One embedding request to one model: `texts` in order; `dimensions` where a shorter vector is asked for."""

    model_id: str
    texts: Sequence[str]
    dimensions: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """`vectors` has the shape (n_texts, dimension), in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much a provider embeds in one request: so many texts, and so many tokens in all of them; None: any number."""

    max_texts: int
    max_tokens: int | None = None


@contextmanager
def malformed_answer_guard(usage: Usage | None) -> Iterator[None]:
    """An answer whose JSON is not of the expected shape anywhere inside is malformed, not a mistake of the bridge's.

    `usage` is what the provider says it bills for it, usable or not.
    """
    try:
        yield
    except ProviderError as exc:
        if exc.kind is not FailureKind.MALFORMED_ANSWER:
            raise
        raise exc.with_billing(usage) from exc
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        message = "the provider's answer is not of the shape that its API promises"
        raise ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=200, usage=usage) from exc


class Provider(Protocol):
    """One configured provider. Every failure is a `ProviderError`; nothing is retried here."""

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """The model's whole answer. Billed by the provider."""
        ...

    def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[ChatChunk]:
        """The answer as it comes; billed by the provider. It ends only when the answer is whole: every choice has its
        finish reason. What has no end in `timeout_s` is the caller's to break off, by closing the generator; that
        breaks off the provider's work, too.
        """
        ...

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """One vector for each text. Billed by the provider."""
        ...

    @property
    def embedding_limits(self) -> BatchLimits:
        """What one call of `embed` may hold; see `embed_in_batches`."""
        ...

    async def probe(self, *, timeout_s: float) -> None:
        """Returns when the provider answers a free call (its model list), else raises."""
        ...
