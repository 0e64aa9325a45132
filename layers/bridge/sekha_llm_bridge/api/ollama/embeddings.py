"""`POST /api/embed` and the older `POST /api/embeddings`: vectors of texts, stored in Chroma as those of
`/v1/embeddings` are, with the same fields of the bridge.

A text that is too long is an error, also with Ollama's default `truncate: true`: the vector of its beginning would be
stored for the whole text.
"""

from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr

from sekha_llm_bridge.api.app import answer_response, json_response
from sekha_llm_bridge.api.conversations.left_out import vendor_fields_left_out
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS, OptionFields
from sekha_llm_bridge.api.embeddings.destination import destination
from sekha_llm_bridge.api.embeddings.embedding import EmbeddingResult, embed_and_store, prompt_tokens, receipt_body
from sekha_llm_bridge.api.embeddings.request import EXTENSIONS, EmbeddingRequest, StorageFields
from sekha_llm_bridge.api.ollama.answers import NOT_LOADED, nanoseconds
from sekha_llm_bridge.api.ollama.conversation import vendor_fields
from sekha_llm_bridge.api.ollama.names import configured_name, options_of
from sekha_llm_bridge.api.ollama.request import Integer, KeepAlive, RequestOptions
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import RESPONSE_TIMEOUT_S, add_log_fields, bridge_of, deadline_of, state_of
from sekha_llm_bridge.api.unknown_fields import check_unknown_fields
from sekha_llm_bridge.conversation import NO_FIELDS, Json, WireFormat


def _texts(value: object) -> object:
    if value in (None, ""):
        return []
    return [value] if isinstance(value, str) else value


def _one_text(value: object) -> object:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


class _OwnRequest(BaseModel):
    """The fields that both have. The bridge's own are extra ones, which `EmbeddingRequest` validates.

    Each takes the other's name of the text too: Ollama finds no text there, and answers without a vector.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str | None = None
    options: RequestOptions | None = None
    keep_alive: KeepAlive | None = None
    truncate: StrictBool | None = None

    @property
    def others(self) -> Json:
        """The fields that the request has besides."""
        return self.model_extra or NO_FIELDS


class EmbedRequest(_OwnRequest):
    """`POST /api/embed`."""

    input: Annotated[list[StrictStr], BeforeValidator(_texts)] = Field(
        default=[], validation_alias=AliasChoices("input", "prompt")
    )
    dimensions: Integer | None = None


class LegacyEmbedRequest(_OwnRequest):
    """`POST /api/embeddings`."""

    prompt: Annotated[StrictStr | None, BeforeValidator(_one_text)] = Field(
        default=None, validation_alias=AliasChoices("prompt", "input")
    )


async def embed(request: Request) -> Response:
    """Answers with one vector for each text."""
    clock = bridge_of(request).clock
    started_s = clock.monotonic_s()
    parsed = validated(EmbedRequest, await json_object(request))
    if not parsed.input:
        return _nothing_to_embed(request, parsed, {"model": parsed.model or "", "embeddings": []})
    embedding, result, receipt = await _embed(request, parsed, parsed.input, parsed.dimensions or None)
    body = {
        "model": result.receipt.model_id,
        "embeddings": result.answer.vectors,
        "total_duration": nanoseconds(clock.monotonic_s() - started_s),
        "load_duration": 0,  # the AI SDK's provider for Ollama needs one
        "prompt_eval_count": prompt_tokens(embedding, result),
        "bridge": receipt,
    }
    return answer_response(request, body)


async def legacy_embed(request: Request) -> Response:
    """Answers with the vector of one text."""
    parsed = validated(LegacyEmbedRequest, await json_object(request))
    if not parsed.prompt:
        return _nothing_to_embed(request, parsed, {"embedding": []})
    _, result, receipt = await _embed(request, parsed, [parsed.prompt], None)
    return answer_response(request, {"embedding": result.answer.vectors[0], "bridge": receipt})


def _nothing_to_embed(request: Request, parsed: _OwnRequest, body: dict[str, Any]) -> Response:
    """Answers a request without texts, by which Ollama loads a model: no provider is asked."""
    validated(StorageFields, parsed.others)
    state_of(request).requested_model = configured_name(parsed.model, bridge_of(request).catalog)
    return json_response({**body, "bridge": {"notes": [NOT_LOADED]}})


async def _embed(
    request: Request, parsed: _OwnRequest, texts: list[str], dimensions: int | None
) -> tuple[EmbeddingRequest, EmbeddingResult, dict[str, Any]]:
    """Returns what is embedded, its vectors, and the receipt."""
    bridge, deadline = bridge_of(request), deadline_of(request).at_most(RESPONSE_TIMEOUT_S)
    own = {name: parsed.others[name] for name in parsed.others.keys() & EXTENSIONS}
    options = options_of(request, parsed.model, validated(OptionFields, own))
    limits = {"max_cost": options.max_cost_usd, "preferred_model": options.preferred_model}
    fields = {**own, **limits, "input": texts, "model": options.model, "dimensions": dimensions}
    embedding = validated(EmbeddingRequest, fields)
    unknown = {name: value for name, value in parsed.others.items() if name not in EXTENSIONS | OPTION_FIELDS}
    check_unknown_fields(unknown, (), own=EXTENSIONS, settings=bridge.settings)
    target = destination(embedding, bridge, default_name=bridge.settings.chroma.default_collection)
    sent_on = vendor_fields(parsed, parsed.options)
    result, stored = await embed_and_store(request, embedding, target, deadline, sent_on, WireFormat.OLLAMA)
    add_log_fields(request, stored=stored.stored if stored else 0, pending=stored.pending if stored else 0)
    receipt = receipt_body(embedding, result, stored)
    ignored = parsed.others.keys() & (OPTION_FIELDS - EXTENSIONS)
    receipt["notes"] += [f"not a field of embeddings, ignored: {name}" for name in sorted(ignored)]
    capabilities = result.candidate.entry.capabilities
    if unsent := vendor_fields_left_out({**unknown, **sent_on}, WireFormat.OLLAMA, capabilities):
        receipt["notes"].append(f"{result.receipt.provider_id} has no place for: {', '.join(unsent)}")
    return embedding, result, receipt
