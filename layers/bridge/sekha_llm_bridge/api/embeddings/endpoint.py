"""Embeddings: vectors of the caller's texts, kept in Chroma on the way."""

import base64
from array import array
from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import (
    LONGEST_SILENCE_S,
    add_log_fields,
    bridge_of,
    deadline_of,
    json_response,
    log_receipt,
)
from sekha_llm_bridge.api.embeddings.errors import mismatch
from sekha_llm_bridge.api.embeddings.request import EmbeddingRequest, LegacyEmbedRequest
from sekha_llm_bridge.api.parsing import checked, json_object
from sekha_llm_bridge.api.vectors import embed, pinned_for_vectors
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.embeddings import Batch, SpaceMismatch, StoreReport, VectorRecord, content_id
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.execution import Deadline, Outcome
from sekha_llm_bridge.pricing import count_texts
from sekha_llm_bridge.providers import EmbeddingAnswer

_TO_STORE_S, _TO_STORE_ONE_S = 3.0, 0.005
_KNOWN = frozenset(EmbeddingRequest.model_fields)
_SHORTEST_STORE_S = 0.5


async def create(request: Request) -> Response:
    """`POST /v1/embeddings`."""
    bridge, deadline = bridge_of(request), deadline_of(request).at_most(LONGEST_SILENCE_S)
    body = await json_object(request)
    asked = checked(EmbeddingRequest, body)
    outcome, report = await _embed_and_keep(asked, _base_name(asked, bridge), bridge, deadline)
    log_receipt(request, outcome.receipt)
    add_log_fields(request, stored=report.stored if report else 0, pending=report.pending if report else 0)
    answer = _openai_body(asked, outcome, report)
    answer["bridge"]["notes"] += [f"unknown field, ignored: {one}" for one in sorted(body.keys() - _KNOWN)]
    return json_response(answer, headers=outcome.receipt.headers())


async def embed_legacy(request: Request) -> Response:
    """`POST /embed`: the shape of v1. It stores only where a `collection` is named."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    legacy = checked(LegacyEmbedRequest, await json_object(request))
    asked = EmbeddingRequest(
        input=[legacy.text], model=legacy.model, max_cost=legacy.max_cost, collection=legacy.collection
    )
    outcome, report = await _embed_and_keep(asked, legacy.collection, bridge, deadline)
    log_receipt(request, outcome.receipt)
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
    storage = bridge.vectors().storage
    warming = storage.preload() if base_name and storage.is_configured else None
    try:
        outcome = await embed(
            asked.input,
            bridge,
            deadline.at_most(deadline.remaining_s() - (_to_store_s(asked) if warming else 0.0)),
            pinned=pinned_for_vectors(asked.model, bridge),
            preferred=asked.preferred_model,
            max_cost=asked.max_cost,
            dimensions=asked.dimensions,
            user=asked.user,
        )
    finally:
        if warming is not None:
            await warming
    if base_name is None:
        return outcome, None
    return outcome, await _keep(asked, outcome, base_name, bridge, deadline)


def _to_store_s(asked: EmbeddingRequest) -> float:
    """What the providers leave for storing, or for putting into the queue."""
    return _TO_STORE_S + _TO_STORE_ONE_S * len(asked.input)


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
        return await bridge.vectors().storage.save(batch, timeout_s=max(deadline.remaining_s(), _SHORTEST_STORE_S))
    except SpaceMismatch as exc:
        if asked.collection is not None:
            raise mismatch(exc, outcome.receipt) from exc
        return StoreReport(batch.collection, 0, 0, (f"not stored: {exc}",))


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
    kept: dict[str, Any] = {"collection": None, "stored": 0, "pending": 0, "ids": []}
    if report and report.collection:
        kept = {"collection": report.collection, "stored": report.stored, "pending": report.pending, "ids": _ids(asked)}
    return {**receipt, "notes": notes, "dimension": len(outcome.answer.vectors[0]), **kept}


def _tokens(asked: EmbeddingRequest, outcome: Outcome[EmbeddingAnswer]) -> int:
    usage = outcome.answer.usage
    return usage.prompt_tokens if usage else count_texts(asked.input).estimate


def _packed(vector: Sequence[float]) -> str:
    """Little-endian float32 in base64, as OpenAI sends it."""
    return base64.b64encode(array("f", vector).tobytes()).decode()
