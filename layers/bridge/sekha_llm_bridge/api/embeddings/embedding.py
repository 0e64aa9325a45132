"""Embeds the texts of a request, and stores the vectors on the way: what the inbound APIs of embeddings share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import Request

from sekha_llm_bridge.api.embeddings.destination import Destination
from sekha_llm_bridge.api.embeddings.request import EmbeddingRequest
from sekha_llm_bridge.api.embeddings.routing import embedding_route_request, embedding_target
from sekha_llm_bridge.api.request_state import bridge_of, inbound_of, state_of
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.conversation import WireFormat
from sekha_llm_bridge.embeddings import Batch, Database, SpaceMismatch, StoreReport, VectorRecord, content_id
from sekha_llm_bridge.errors import EmbeddingSpaceMismatch
from sekha_llm_bridge.execution import Deadline, ExecutionResult
from sekha_llm_bridge.execution.embedding_operation import EmbeddingOperation
from sekha_llm_bridge.pricing import count_texts
from sekha_llm_bridge.providers import EmbeddingAnswer
from sekha_llm_bridge.routing.names import resolve_preferred

# The part of the time that the providers must leave for storing, or for putting the vectors into the queue.
_STORING_S, _STORING_PER_TEXT_S = 3.0, 0.005
_MIN_STORING_S = 0.5

EmbeddingResult = ExecutionResult[EmbeddingAnswer]


async def embed_and_store(
    request: Request,
    embedding: EmbeddingRequest,
    target: Destination,
    deadline: Deadline,
    vendor_fields: Mapping[str, Any] = MappingProxyType({}),
    wire_format: WireFormat = WireFormat.OPENAI_CHAT,
) -> tuple[EmbeddingResult, StoreReport | None]:
    """Returns the vectors, and what became of them; None where they are not to be stored. `vendor_fields` are for
    providers of the request's own format, `wire_format`.
    """
    bridge = bridge_of(request)
    state_of(request).requested_model = embedding.model
    route = embedding_route_request(
        embedding.input,
        target=embedding_target(embedding.model, bridge),
        preferred=resolve_preferred(embedding.preferred_model, bridge.catalog),
        max_cost=embedding.max_cost,
        dimensions=embedding.dimensions,
        vendor_fields=vendor_fields,
    )
    dimensions, user = embedding.dimensions, embedding.user
    operation = EmbeddingOperation(
        route, embedding.input, dimensions, user, bridge.clock, vendor_fields, bridge.providers, wire_format
    )
    storage = bridge.vectors().storage
    preloading = storage.preload() if target.base_name and storage.is_configured else None
    reserved_s = _STORING_S + _STORING_PER_TEXT_S * len(embedding.input) if preloading else 0.0
    try:
        embedding_deadline = deadline.at_most(deadline.remaining_s() - reserved_s)
        result = await bridge.service.run(operation, embedding_deadline, inbound_of(request))
    finally:
        if preloading is not None:
            await preloading
    if target.base_name is None:
        return result, StoreReport(None, 0, notes=(target.note,)) if target.note else None
    return result, await _store(embedding, result, target.base_name, target.database, bridge, deadline)


async def _store(
    embedding: EmbeddingRequest,
    result: EmbeddingResult,
    base_name: str,
    database: Database | None,
    bridge: Bridge,
    deadline: Deadline,
) -> StoreReport:
    """Stores the vectors. Raises `EmbeddingSpaceMismatch` only where the request itself named the collection."""
    vectors = result.answer.vectors
    metadatas = embedding.metadatas or [None] * len(vectors)
    rows = zip(_ids(embedding), embedding.input, vectors, metadatas, strict=True)
    records = tuple(VectorRecord(*row) for row in rows)
    batch = Batch(base_name, len(vectors[0]), result.candidate.entry.model.space, records, database)
    try:
        return await bridge.vectors().storage.save(batch, timeout_s=max(deadline.remaining_s(), _MIN_STORING_S))
    except SpaceMismatch as exc:
        if embedding.collection is not None:
            raise EmbeddingSpaceMismatch(str(exc), receipt=result.receipt.public(), param="collection") from exc
        return StoreReport(batch.collection, 0, 0, (f"not stored: {exc}",))


def _ids(embedding: EmbeddingRequest) -> list[str]:
    return list(embedding.ids) if embedding.ids is not None else [content_id(text) for text in embedding.input]


def receipt_body(embedding: EmbeddingRequest, result: EmbeddingResult, stored: StoreReport | None) -> dict[str, Any]:
    """Returns the receipt, and what became of the vectors."""
    receipt = result.receipt.public()
    notes = [*result.receipt.notes, *(stored.notes if stored else ())]
    storage: dict[str, Any] = {"collection": None, "stored": 0, "pending": 0, "ids": []}
    if stored and stored.collection:
        storage = {
            "collection": stored.collection,
            "stored": stored.stored,
            "pending": stored.pending,
            "ids": _ids(embedding),
        }
    return {**receipt, "notes": notes, "dimension": len(result.answer.vectors[0]), **storage}


def prompt_tokens(embedding: EmbeddingRequest, result: EmbeddingResult) -> int:
    """Returns the tokens of the texts: the provider's count, else an estimate."""
    usage = result.answer.usage
    return usage.prompt_tokens if usage else count_texts(embedding.input).estimate
