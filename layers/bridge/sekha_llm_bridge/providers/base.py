"""The protocol of a provider adapter, and its calls and answers for embeddings. Those for chats are in `conversation`
and `calls`.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sekha_llm_bridge.conversation import AnswerChunk, ChatAnswer, Json, WireFormat
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.usage import Usage

if TYPE_CHECKING:
    from sekha_llm_bridge.found_models import FoundModel


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """One embedding request to one model: `texts` in order; `dimensions` only where shorter vectors are requested.

    `vendor_fields` are the request's fields that the bridge does not know, such as `input_type`; an adapter of their
    format, `wire_format`, sends them as they are. `context_window` is that of the model, in tokens; None where it is
    not known.
    """

    model_id: str
    texts: Sequence[str]
    dimensions: int | None = None
    user: str | None = None
    vendor_fields: Json = field(default_factory=dict)
    context_window: int | None = None
    wire_format: WireFormat = WireFormat.OPENAI_CHAT


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """`vectors` has the shape (n_texts, dimension), in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None
    usage_is_estimated: bool = False


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


def read_text(value: object) -> str:
    """Returns a text of an answer. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


class Provider(Protocol):
    """One configured provider. Every failure is a `ProviderError`; adapters do not retry."""

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """Returns the model's complete answer. The provider bills it."""
        ...

    def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[AnswerChunk]:
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

    async def count_tokens(self, call: ChatCall, *, timeout_s: float) -> int | None:
        """Returns the exact number of the prompt's tokens, by a free request; None where the provider cannot count."""
        ...


@runtime_checkable
class ModelLister(Protocol):
    """A provider that says itself which models it has. Every failure is a `ProviderError`; both calls are free."""

    async def list_models(self, *, timeout_s: float) -> "Sequence[FoundModel]":
        """Returns the models, each once, in the order of their names. It is also a probe: see `Provider.probe`."""
        ...

    async def describe_model(self, listed: "FoundModel", *, timeout_s: float) -> "FoundModel":
        """Returns a model of the list with everything that is known of it."""
        ...
