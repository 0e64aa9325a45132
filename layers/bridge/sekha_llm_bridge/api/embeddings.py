"""Embeddings: vectors of the caller's texts, kept in Chroma on the way."""

import base64
from array import array
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import bridge_of, deadline_of, json_response, note, note_receipt
from sekha_llm_bridge.api.embedding_request import EmbeddingRequest, LegacyEmbedRequest
from sekha_llm_bridge.api.models import resolve_model
from sekha_llm_bridge.api.parsing import checked, json_object
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.embeddings import Batch, SpaceMismatch, StoreReport, VectorRecord, content_id
from sekha_llm_bridge.errors import DimensionsIgnored, EmbeddingSpaceMismatch, InvalidRequest, MalformedAnswer
from sekha_llm_bridge.execution import Deadline, Outcome, Receipt
from sekha_llm_bridge.pricing import count_texts, longest_text
from sekha_llm_bridge.providers import EmbeddingAnswer, EmbeddingCall
from sekha_llm_bridge.providers.base import Provider, reading_an_answer
from sekha_llm_bridge.routing import Candidate, RouteRequest, plan

_SHORTEST_STORE_S = 0.5


async def create(request: Request) -> Response:
    """`POST /v1/embeddings`."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    asked = checked(EmbeddingRequest, await json_object(request))
    outcome, report = await _embed_and_keep(asked, _base_name(asked, bridge), bridge, deadline)
    note_receipt(request, outcome.receipt)
    note(request, stored=report.stored if report else 0)
    return json_response(_openai_body(asked, outcome, report), headers=outcome.receipt.headers())


async def embed_legacy(request: Request) -> Response:
    """`POST /embed`: the shape of v1. It stores only where a `collection` is named."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    legacy = checked(LegacyEmbedRequest, await json_object(request))
    asked = EmbeddingRequest(
        input=[legacy.text], model=legacy.model, max_cost=legacy.max_cost, collection=legacy.collection
    )
    outcome, report = await _embed_and_keep(asked, legacy.collection, bridge, deadline)
    note_receipt(request, outcome.receipt)
    vector = outcome.answer.vectors[0]
    body = {
        "embedding": vector,
        "model": outcome.receipt.model_id,
        "dimension": len(vector),
        "tokens_used": _tokens(asked, outcome),
    }
    kept = {} if report is None else {"bridge": _bridge(asked, outcome, report)}
    return json_response({**body, **kept}, headers=outcome.receipt.headers())


def _base_name(asked: EmbeddingRequest, bridge: Bridge) -> str | None:
    """The collection to store in, without its dimension; None: the request or the configuration wants nothing
    stored.
    """
    if asked.store is False:
        return None
    name = asked.collection or bridge.settings.chroma.default_collection
    if asked.store and name is None:
        raise InvalidRequest("`store` needs a `collection`: the configuration has no default", param="collection")
    return name


async def _embed_and_keep(
    asked: EmbeddingRequest, base_name: str | None, bridge: Bridge, deadline: Deadline
) -> tuple[Outcome[EmbeddingAnswer], StoreReport | None]:
    warming = bridge.archive.warm() if base_name and bridge.archive.is_configured else None
    try:
        outcome = await embed(asked, bridge, deadline)
    finally:
        if warming is not None:
            await warming
    if base_name is None:
        return outcome, None
    return outcome, await _keep(asked, outcome, base_name, bridge, deadline)


async def embed(asked: EmbeddingRequest, bridge: Bridge, deadline: Deadline) -> Outcome[EmbeddingAnswer]:
    """The vectors, of whichever provider of one embedding space answers."""
    wanted = embedding_route_request(
        asked.input,
        pinned=pinned_for_vectors(asked.model, bridge),
        preferred=asked.preferred_model,
        max_cost=asked.max_cost,
        dimensions=asked.dimensions,
    )

    async def call(provider: Provider, candidate: Candidate, timeout_s: float) -> EmbeddingAnswer:
        model = candidate.entry.model
        shorter = None if asked.dimensions == model.dimension else asked.dimensions  # some refuse the field itself
        texts = EmbeddingCall(model.model_id, asked.input, shorter, asked.user)
        answer = await provider.embed(texts, timeout_s=timeout_s)
        with reading_an_answer(answer.usage):
            _require_vectors(answer.vectors, len(asked.input), {model.dimension, asked.dimensions})
        if asked.dimensions not in {None, len(answer.vectors[0])}:
            message = f"{model.model_id} cannot shorten its vectors; leave `dimensions` out"
            raise DimensionsIgnored(message, provider_status=200, param="dimensions", usage=answer.usage)
        return answer

    watch = await bridge.breakers.watch()
    return await bridge.executor.perform(plan(wanted, bridge.catalog, bridge.limits(watch)), call, deadline, watch)


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
    )


def _require_vectors(vectors: Sequence[Sequence[float]], count: int, dimensions: Collection[int | None]) -> None:
    """One vector for each text, all of one length, of numbers. Raises `MalformedAnswer`."""
    lengths = {len(vector) for vector in vectors}
    if len(vectors) != count or len(lengths) != 1 or not lengths <= set(dimensions):
        sent = f"{len(vectors)} vectors of {', '.join(map(str, sorted(lengths))) or 'no'} dimensions"
        expected = " or ".join(str(dimension) for dimension in dimensions if dimension is not None)
        raise MalformedAnswer(f"the provider sent {sent}, not {count} of {expected}", provider_status=200)
    try:
        for vector in vectors:
            array("d", vector)
    except TypeError:
        raise MalformedAnswer("the provider sent vectors that are not all numbers", provider_status=200) from None


async def _keep(
    asked: EmbeddingRequest, outcome: Outcome[EmbeddingAnswer], base_name: str, bridge: Bridge, deadline: Deadline
) -> StoreReport:
    """Stores the vectors. Raises `EmbeddingSpaceMismatch` only where the request itself named the collection."""
    vectors = outcome.answer.vectors
    metadatas = asked.metadatas or [None] * len(vectors)
    rows = zip(_ids(asked), asked.input, vectors, metadatas, strict=True)
    records = tuple(VectorRecord(*row) for row in rows)
    batch = Batch(base_name, len(vectors[0]), outcome.candidate.entry.model.space, records)
    try:
        return await bridge.archive.keep(batch, timeout_s=max(deadline.remaining_s(), _SHORTEST_STORE_S))
    except SpaceMismatch as exc:
        if asked.collection is not None:
            raise _mismatch(exc, outcome.receipt) from exc
        return StoreReport(batch.collection, 0, 0, (f"not stored: {exc}",))


def _mismatch(exc: SpaceMismatch, receipt: Receipt) -> EmbeddingSpaceMismatch:
    """The vectors were made and billed, so the error carries their receipt."""
    error = EmbeddingSpaceMismatch(str(exc), receipt=receipt.public(), param="collection")
    error.attempts = tuple(attempt.public() for attempt in receipt.attempts)
    error.cost_usd, error.most_usd = receipt.cost, receipt.cost_bound
    return error


def _ids(asked: EmbeddingRequest) -> list[str]:
    return list(asked.ids) if asked.ids is not None else [content_id(text) for text in asked.input]


def _openai_body(
    asked: EmbeddingRequest, outcome: Outcome[EmbeddingAnswer], report: StoreReport | None
) -> dict[str, Any]:
    packed = asked.encoding_format == "base64"
    vectors = outcome.answer.vectors
    tokens = _tokens(asked, outcome)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": _packed(v) if packed else v} for i, v in enumerate(vectors)
        ],
        "model": outcome.receipt.model_id,
        "usage": usage if outcome.answer.usage else {**usage, "estimated": True},
        "bridge": _bridge(asked, outcome, report),
    }


def _bridge(asked: EmbeddingRequest, outcome: Outcome[EmbeddingAnswer], report: StoreReport | None) -> dict[str, Any]:
    """The receipt, and what became of the vectors."""
    receipt = outcome.receipt.public()
    notes = [*outcome.receipt.notes, *(report.notes if report else ())]
    kept: dict[str, Any] = {"collection": None, "stored": 0, "ids": []}
    if report and report.collection:
        kept = {"collection": report.collection, "stored": report.stored, "ids": _ids(asked)}
    return {**receipt, "notes": notes, "dimension": len(outcome.answer.vectors[0]), **kept}


def _tokens(asked: EmbeddingRequest, outcome: Outcome[EmbeddingAnswer]) -> int:
    usage = outcome.answer.usage
    return usage.prompt_tokens if usage else count_texts(asked.input).estimate


def _packed(vector: Sequence[float]) -> str:
    """Little-endian float32 in base64, as OpenAI sends it."""
    return base64.b64encode(array("f", vector).tobytes()).decode()
