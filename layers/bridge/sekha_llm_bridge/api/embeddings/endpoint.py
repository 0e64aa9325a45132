"""`POST /v1/embeddings` and the legacy `POST /embed`: vectors of the caller's texts, stored in Chroma on the way."""

import base64
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import answer_response
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS
from sekha_llm_bridge.api.embeddings.destination import destination
from sekha_llm_bridge.api.embeddings.embedding import EmbeddingResult, embed_and_store, prompt_tokens, receipt_body
from sekha_llm_bridge.api.embeddings.request import EXTENSIONS, KNOWN_FIELDS, EmbeddingRequest, LegacyEmbedRequest
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import (
    RESPONSE_TIMEOUT_S,
    add_log_fields,
    bridge_of,
    deadline_of,
)
from sekha_llm_bridge.api.unknown_fields import check_misspelt_fields, check_unknown_fields, notes_on_unknown_fields
from sekha_llm_bridge.embeddings import StoreReport

_ONLY_FOR_CHATS = OPTION_FIELDS - EXTENSIONS - {"task"}  # `task` is a vendor's field of embeddings


async def create_embeddings(request: Request) -> Response:
    """Answers in OpenAI's format."""
    bridge, deadline = bridge_of(request), deadline_of(request).at_most(RESPONSE_TIMEOUT_S)
    fields = await json_object(request)
    embedding = validated(EmbeddingRequest, fields)
    vendor_fields = {name: fields[name] for name in fields.keys() - KNOWN_FIELDS - _ONLY_FOR_CHATS}
    unknown = check_unknown_fields(vendor_fields, (), own=EXTENSIONS, settings=bridge.settings)
    target = destination(embedding, bridge, default_name=bridge.settings.chroma.default_collection)
    result, stored = await embed_and_store(request, embedding, target, deadline, vendor_fields)
    add_log_fields(request, stored=stored.stored if stored else 0, pending=stored.pending if stored else 0)
    body = _openai_body(embedding, result, stored)
    body["bridge"]["notes"] += _notes_on_fields(fields, vendor_fields, unknown, result)
    return answer_response(request, body)


def _notes_on_fields(
    fields: Mapping[str, Any], vendor_fields: Mapping[str, Any], unknown: Sequence[str], result: EmbeddingResult
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
    result, stored = await embed_and_store(request, embedding, target, deadline_of(request))
    vector = result.answer.vectors[0]
    body = {
        "embedding": vector,
        "model": result.receipt.model_id,
        "dimension": len(vector),
        "tokens_used": prompt_tokens(embedding, result),
    }
    bridge = {} if stored is None else {"bridge": receipt_body(embedding, result, stored)}
    return answer_response(request, {**body, **bridge})


def _openai_body(embedding: EmbeddingRequest, result: EmbeddingResult, stored: StoreReport | None) -> dict[str, Any]:
    is_base64 = embedding.encoding_format == "base64"
    vectors = result.answer.vectors
    tokens = prompt_tokens(embedding, result)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": _base64(vector) if is_base64 else vector}
            for i, vector in enumerate(vectors)
        ],
        "model": result.receipt.model_id,
        "usage": usage if result.answer.usage else {**usage, "estimated": True},
        "bridge": receipt_body(embedding, result, stored),
    }


def _base64(vector: Sequence[float]) -> str:
    """Returns little-endian float32 in base64, as OpenAI sends it."""
    return base64.b64encode(array("f", vector).tobytes()).decode()
