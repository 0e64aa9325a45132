"""An embedding request as an operation: vectors of texts, all of one embedding space, checked before use."""

import math
from array import array
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import WireFormat
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers import EmbeddingAnswer, EmbeddingCall, Provider, ProviderDirectory, embed_in_batches
from sekha_llm_bridge.providers.base import malformed_answer_guard
from sekha_llm_bridge.providers.embedding_batches import Renew
from sekha_llm_bridge.routing import Candidate, RouteRequest

_MAX_RENEWAL_S = 3.0


class EmbeddingOperation(NamedTuple):
    """One vector for each text. `dimensions` is the length of vector that was requested, None for the model's own.

    `vendor_fields` are sent to a provider of their own format, `wire_format`, as they are. `providers` fetch a key that
    is rotated while the texts are sent in several batches.
    """

    route: RouteRequest
    texts: Sequence[str]
    dimensions: int | None
    user: str | None
    clock: Clock
    vendor_fields: Mapping[str, Any] = MappingProxyType({})
    providers: ProviderDirectory | None = None
    wire_format: WireFormat = WireFormat.OPENAI_CHAT

    @property
    def conversation(self) -> None:
        """There is none: the texts are counted each for itself."""
        return None

    async def call(self, provider: Provider, candidate: Candidate, *, timeout_s: float) -> EmbeddingAnswer:
        """Returns the vectors, in the order of the texts. Raises `ProviderError` where they are not usable, or not as
        short as requested (DIMENSIONS_IGNORED).
        """
        model = candidate.entry.model
        shorter = None if self.dimensions == model.dimension else self.dimensions  # some refuse the field itself
        call = EmbeddingCall(
            model.model_id,
            self.texts,
            shorter,
            self.user,
            self.vendor_fields,
            context_window=model.context_window,
            wire_format=self.wire_format,
        )
        limits, renew = provider.embedding_limits, self._renewing(candidate.entry.provider.id)
        answer = await embed_in_batches(provider, call, limits, timeout_s=timeout_s, clock=self.clock, renew=renew)
        with malformed_answer_guard(answer.usage):
            _require_vectors(answer.vectors, len(self.texts), {model.dimension, self.dimensions})
        if self.dimensions not in {None, len(answer.vectors[0])}:
            message = f"{model.model_id} cannot shorten its vectors; leave `dimensions` out"
            raise ProviderError(
                FailureKind.DIMENSIONS_IGNORED, message, provider_status=200, param="dimensions", usage=answer.usage
            )
        return answer

    def _renewing(self, provider_id: str) -> Renew | None:
        if (providers := self.providers) is None:
            return None
        used = providers.config(provider_id)

        async def renew(timeout_s: float) -> Provider | None:
            nonlocal used
            if not await providers.refresh(provider_id, timeout_s=min(_MAX_RENEWAL_S, timeout_s), used=used):
                return None
            used = providers.config(provider_id)
            return providers.get(provider_id)

        return renew


def _require_vectors(vectors: Sequence[Sequence[float]], count: int, dimensions: Collection[int | None]) -> None:
    """Raises `ProviderError` (MALFORMED_ANSWER) unless there are `count` vectors of numbers, all of the same length,
    which is one of `dimensions`.
    """
    lengths = {len(vector) for vector in vectors}
    if len(vectors) != count or len(lengths) != 1 or not lengths <= set(dimensions):
        sent = f"{len(vectors)} vectors of {', '.join(map(str, sorted(lengths))) or 'no'} dimensions"
        expected = " or ".join(str(dimension) for dimension in dimensions if dimension is not None)
        message = f"the provider sent {sent}, not {count} of {expected}"
        raise ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=200)
    try:
        is_finite = all(math.isfinite(sum(array("f", vector))) for vector in vectors)
    except (TypeError, OverflowError):
        is_finite = False
    if not is_finite:
        message = "the provider sent vectors that are not all numbers, or too large for 32 bits"
        raise ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=200)
