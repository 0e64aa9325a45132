"""Vectors of texts: planned, made by whichever provider of one embedding space answers, and looked at."""

import math
from array import array
from collections.abc import Collection, Sequence
from decimal import Decimal

from sekha_llm_bridge.api.models.listing import resolve_model
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.errors import FailureKind, InvalidRequest, ProviderError
from sekha_llm_bridge.execution import Deadline, Outcome
from sekha_llm_bridge.pricing import count_texts, longest_text
from sekha_llm_bridge.providers import EmbeddingAnswer, EmbeddingCall
from sekha_llm_bridge.providers.base import Provider, malformed_answer_guard
from sekha_llm_bridge.providers.embedding_batches import embed_in_batches
from sekha_llm_bridge.routing import Candidate, RouteRequest, plan


async def embed(
    texts: Sequence[str],
    bridge: Bridge,
    deadline: Deadline,
    *,
    pinned: str | None,
    preferred: str | None = None,
    max_cost: Decimal | None = None,
    dimensions: int | None = None,
    user: str | None = None,
    space: str | None = None,
) -> Outcome[EmbeddingAnswer]:
    """One vector for each text, all of one space: `space`, else that of the `pinned` model, else of the default one."""
    wanted = embedding_route_request(
        texts, pinned=pinned, preferred=preferred, max_cost=max_cost, dimensions=dimensions, space=space
    )

    async def call(provider: Provider, candidate: Candidate, timeout_s: float) -> EmbeddingAnswer:
        model = candidate.entry.model
        shorter = None if dimensions == model.dimension else dimensions  # some refuse the field itself
        asked = EmbeddingCall(model.model_id, texts, shorter, user)
        answer = await embed_in_batches(
            provider, asked, provider.embedding_limits, timeout_s=timeout_s, clock=bridge.clock
        )
        with malformed_answer_guard(answer.usage):
            _require_vectors(answer.vectors, len(texts), {model.dimension, dimensions})
        if dimensions not in {None, len(answer.vectors[0])}:
            message = f"{model.model_id} cannot shorten its vectors; leave `dimensions` out"
            raise ProviderError(
                FailureKind.DIMENSIONS_IGNORED, message, provider_status=200, param="dimensions", usage=answer.usage
            )
        return answer

    watch = await bridge.breakers.session()
    return await bridge.executor.run_plan(plan(wanted, bridge.catalog, bridge.limits(watch)), call, deadline, watch)


def pinned_for_vectors(model: str | None, bridge: Bridge) -> str | None:
    """The only model allowed, or None. Raises `ModelNotFound`, and `InvalidRequest` for the name of a chat task."""
    pinned, alias = resolve_model(model, bridge.catalog)
    if alias not in {None, Task.EMBEDDING}:
        raise InvalidRequest(f"model: {model} gives no vectors", param="model")
    return pinned


def embedding_route_request(
    texts: Sequence[str],
    *,
    pinned: str | None,
    preferred: str | None,
    max_cost: Decimal | None,
    context_tokens: int = 0,
    dimensions: int | None = None,
    space: str | None = None,
) -> RouteRequest:
    """What vectors of these texts ask of a model; each text has the model's window to itself."""
    return RouteRequest(
        task=Task.EMBEDDING,
        prompt=count_texts(texts),
        pinned=pinned,
        preferred=preferred,
        max_cost_usd=max_cost,
        context_tokens=max(longest_text(texts), context_tokens),
        dimensions=dimensions,
        space=space,
    )


def _require_vectors(vectors: Sequence[Sequence[float]], count: int, dimensions: Collection[int | None]) -> None:
    """One vector for each text, all of one length, of numbers. Raises `ProviderError` (MALFORMED_ANSWER)."""
    lengths = {len(vector) for vector in vectors}
    if len(vectors) != count or len(lengths) != 1 or not lengths <= set(dimensions):
        sent = f"{len(vectors)} vectors of {', '.join(map(str, sorted(lengths))) or 'no'} dimensions"
        expected = " or ".join(str(dimension) for dimension in dimensions if dimension is not None)
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, f"the provider sent {sent}, not {count} of {expected}", provider_status=200
        )
    try:
        finite = all(math.isfinite(sum(array("f", vector))) for vector in vectors)
    except (TypeError, OverflowError):
        finite = False
    if not finite:
        message = "the provider sent vectors that are not all numbers, or too large for 32 bits"
        raise ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=200)
