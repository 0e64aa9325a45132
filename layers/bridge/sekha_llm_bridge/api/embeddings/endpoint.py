"""`POST /v1/embeddings` and the legacy `POST /embed`: vectors of the caller's texts, stored in Chroma on the way."""

import base64
from array import array
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import answer_response
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS
from sekha_llm_bridge.api.embeddings.destination import Destination, destination
from sekha_llm_bridge.api.embeddings.request import EXTENSIONS, KNOWN_FIELDS, EmbeddingRequest, LegacyEmbedRequest
from sekha_llm_bridge.api.embeddings.routing import embedding_route_request, embedding_target
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import (
    RESPONSE_TIMEOUT_S,
    add_log_fields,
    bridge_of,
    deadline_of,
    inbound_of,
    state_of,
)
from sekha_llm_bridge.api.unknown_fields import check_misspelt_fields, check_unknown_fields, notes_on_unknown_fields
from sekha_llm_bridge.bootstrap import Bridge
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
_ONLY_FOR_CHATS = OPTION_FIELDS - EXTENSIONS - {"task"}  # `task` is a vendor's field of embeddings

Result = ExecutionResult[EmbeddingAnswer]


async def create_embeddings(request: Request) -> Response:
    """Answers in OpenAI's format."""
    bridge, deadline = bridge_of(request), deadline_of(request).at_most(RESPONSE_TIMEOUT_S)
    fields = await json_object(request)
    embedding = validated(EmbeddingRequest, fields)
    vendor_fields = {name: fields[name] for name in fields.keys() - KNOWN_FIELDS - _ONLY_FOR_CHATS}
    unknown = check_unknown_fields(vendor_fields, (), own=EXTENSIONS, settings=bridge.settings)
    target = destination(embedding, bridge, default_name=bridge.settings.chroma.default_collection)
    result, stored = await _embed_and_store(request, embedding, target, deadline, vendor_fields)
    add_log_fields(request, stored=stored.stored if stored else 0, pending=stored.pending if stored else 0)
    body = _openai_body(embedding, result, stored)
    body["bridge"]["notes"] += _notes_on_fields(fields, vendor_fields, unknown, result)
    return answer_response(request, body)


def _notes_on_fields(
    fields: Mapping[str, Any], vendor_fields: Mapping[str, Any], unknown: Sequence[str], result: Result
) -> Iterator[str]:
    """Yields what became of the fields that the bridge does not read."""
    yield from (f"not a field of embeddings, ignored: {name}" for name in sorted(fields.keys() & _ONLY_FOR_CHATS))
    if result.candidate.entry.capabilities.translated_fields is None:
        yield from notes_on_unknown_fields(unknown, result.candidate)
    elif vendor_fields:
        yield f"{result.receipt.provider_id} has no place for: {', '.join(sorted(vendor_fields))}"


async def embed_legacy(request: Request) -> Response:
    """Answers in the format of v1. It stores only where the request names a `collection`. Unknown fields are ignored,
    but a typo in one of the bridge's own is refused.
    """
    fields = await json_object(request)
    legacy = validated(LegacyEmbedRequest, fields)
    check_misspelt_fields(fields, LegacyEmbedRequest.model_fields.keys(), own={"collection", "max_cost"})
    embedding = EmbeddingRequest(
        input=[legacy.text], model=legacy.model, max_cost=legacy.max_cost, collection=legacy.collection
    )
    target = destination(embedding, bridge_of(request), default_name=None)
    result, stored = await _embed_and_store(request, embedding, target, deadline_of(request))
    vector = result.answer.vectors[0]
    body = {
        "embedding": vector,
        "model": result.receipt.model_id,
        "dimension": len(vector),
        "tokens_used": _tokens(embedding, result),
    }
    bridge = {} if stored is None else {"bridge": _bridge_body(embedding, result, stored)}
    return answer_response(request, {**body, **bridge})


async def _embed_and_store(
    request: Request,
    embedding: EmbeddingRequest,
    target: Destination,
    deadline: Deadline,
    vendor_fields: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Result, StoreReport | None]:
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
        route, embedding.input, dimensions, user, bridge.clock, vendor_fields, bridge.providers
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
    result: Result,
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


def _openai_body(embedding: EmbeddingRequest, result: Result, stored: StoreReport | None) -> dict[str, Any]:
    is_base64 = embedding.encoding_format == "base64"
    vectors = result.answer.vectors
    tokens = _tokens(embedding, result)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": _base64(vector) if is_base64 else vector}
            for i, vector in enumerate(vectors)
        ],
        "model": result.receipt.model_id,
        "usage": usage if result.answer.usage else {**usage, "estimated": True},
        "bridge": _bridge_body(embedding, result, stored),
    }


def _bridge_body(embedding: EmbeddingRequest, result: Result, stored: StoreReport | None) -> dict[str, Any]:
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


def _tokens(embedding: EmbeddingRequest, result: Result) -> int:
    usage = result.answer.usage
    return usage.prompt_tokens if usage else count_texts(embedding.input).estimate


def _base64(vector: Sequence[float]) -> str:
    """Returns little-endian float32 in base64, as OpenAI sends it."""
    return base64.b64encode(array("f", vector).tobytes()).decode()
