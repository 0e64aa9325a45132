"""Embeddings by InvokeModel: each family of models has a format of its own.

Sources: Amazon Bedrock User Guide, "Amazon Titan Embeddings G1 - Text", "Titan Text Embeddings V2", "Amazon Titan
Multimodal Embeddings G1", "Cohere Embed v3", "Cohere Embed v4"; Amazon Nova User Guide, "Complete embeddings request
and response schema". That the number of tokens is in a header, and for Cohere only there: vercel/ai#15973,
cohere-ai/cohere-python#537.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from sekha_llm_bridge.conversation import Json
from sekha_llm_bridge.providers.base import EmbeddingAnswer, EmbeddingCall, malformed_answer
from sekha_llm_bridge.providers.bedrock.content import unsuitable
from sekha_llm_bridge.providers.bedrock.models import base_model_id
from sekha_llm_bridge.providers.retry_wait import Header
from sekha_llm_bridge.providers.token_counts import read_count
from sekha_llm_bridge.usage import Usage

_TOKEN_COUNT_HEADER = "x-amzn-bedrock-input-token-count"  # noqa: S105 — a number of tokens, not a password
_TOKEN_COUNT_FIELDS = ("inputTextTokenCount", "inputTokenCount")
_COHERE_TEXTS = 96


class EmbeddingFormat(NamedTuple):
    """The format of one family: the pattern of its ids, its request, its vectors, and how many texts a request has."""

    pattern: str
    body: Callable[[EmbeddingCall], dict[str, Any]]
    vectors: Callable[[Json], Any]
    max_texts: int = 1


def _titan_v1(call: EmbeddingCall) -> dict[str, Any]:
    return {"inputText": call.texts[0]}


def _titan_v2(call: EmbeddingCall) -> dict[str, Any]:
    body: dict[str, Any] = {"inputText": call.texts[0]}
    if call.dimensions is not None:
        body["dimensions"] = call.dimensions
    if (normalize := call.vendor_fields.get("normalize")) is not None:
        body["normalize"] = normalize
    return body


def _titan_multimodal(call: EmbeddingCall) -> dict[str, Any]:
    length = {} if call.dimensions is None else {"embeddingConfig": {"outputEmbeddingLength": call.dimensions}}
    return {"inputText": call.texts[0], **length}


def _cohere(call: EmbeddingCall) -> dict[str, Any]:
    """Returns Cohere's request. A text that is too long is an error, never cut."""
    return {
        "texts": list(call.texts),
        "input_type": call.vendor_fields.get("input_type") or "search_document",
        "truncate": "NONE",
        "embedding_types": ["float"],
        **({} if call.dimensions is None else {"output_dimension": call.dimensions}),
    }


def _nova(call: EmbeddingCall) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "embeddingPurpose": call.vendor_fields.get("embeddingPurpose") or "GENERIC_INDEX",
        "text": {"truncationMode": "NONE", "value": call.texts[0]},
    }
    if call.dimensions is not None:
        parameters["embeddingDimension"] = call.dimensions
    return {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": parameters,
    }


def _single_vector(body: Json) -> Any:
    return [body.get("embedding")]


def _cohere_vectors(body: Json) -> Any:
    """Returns the vectors, which are by type where `embedding_types` was understood."""
    found = body.get("embeddings")
    return found.get("float") if isinstance(found, dict) else found


def _nova_vectors(body: Json) -> Any:
    return [one.get("embedding") for one in body.get("embeddings") or ()]


_FORMATS = (
    EmbeddingFormat(r"amazon\.titan-embed-image", _titan_multimodal, _single_vector),
    EmbeddingFormat(r"amazon\.titan-embed-text-v2", _titan_v2, _single_vector),
    EmbeddingFormat(r"amazon\.titan-embed", _titan_v1, _single_vector),
    EmbeddingFormat(r"amazon\.nova", _nova, _nova_vectors),
    EmbeddingFormat(r"cohere\.embed", _cohere, _cohere_vectors, _COHERE_TEXTS),
)


def format_of(model_id: str) -> EmbeddingFormat:
    """Returns the format of an embedding model.

    Raises `ProviderError` (CANDIDATE_UNSUITABLE) for a model whose format is not known.
    """
    base = base_model_id(model_id) or ""
    found = next((one for one in _FORMATS if re.match(one.pattern, base)), None)
    if found is None:
        raise unsuitable("the format of this embedding model of Bedrock is not known: use Titan, Nova or Cohere")
    return found


def max_texts(model_ids: list[str]) -> int:
    """Returns how many texts a request may have, whichever of these models it is for."""
    known = [one.max_texts for model_id in model_ids for one in _FORMATS if _is_of(one, model_id)]
    return min(known, default=1)


def _is_of(form: EmbeddingFormat, model_id: str) -> bool:
    return re.match(form.pattern, base_model_id(model_id) or "") is not None


def read_embeddings(body: Json, form: EmbeddingFormat, header: Header) -> EmbeddingAnswer:
    """Returns the vectors of an answer of InvokeModel. Raises `ProviderError` (MALFORMED_ANSWER)."""
    counts = (read_count(value) for value in (*map(body.get, _TOKEN_COUNT_FIELDS), header(_TOKEN_COUNT_HEADER)))
    tokens = next((count for count in counts if count is not None), None)
    usage = None if tokens is None else Usage(tokens)
    vectors = form.vectors(body)
    if not isinstance(vectors, list) or not vectors or not all(isinstance(vector, list) for vector in vectors):
        raise malformed_answer("the provider's answer has no usable vectors", usage)
    return EmbeddingAnswer(vectors, usage)
