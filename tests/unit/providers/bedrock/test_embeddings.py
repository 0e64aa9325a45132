"""Embeddings by InvokeModel, in the format of each family of models."""

import asyncio
from typing import Any

import pytest

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.base import EmbeddingAnswer, EmbeddingCall
from sekha_llm_bridge.providers.bedrock.adapter import BedrockAdapter
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.usage import Usage
from tests.fakes.bedrock import FakeBedrock, error
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.provider import Reply, vector_of
from tests.fakes.settings import embedding_model, provider

TITAN_V1, TITAN_V2 = "amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0"
COHERE, COHERE_V4 = "cohere.embed-multilingual-v3", "us.cohere.embed-v4:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"


def adapter(bedrock: FakeBedrock, *model_ids: str) -> BedrockAdapter:
    models = [embedding_model(model_id) for model_id in model_ids]
    section = provider("b", *models, provider_type="bedrock", base_url=bedrock.url, region="eu-west-1")
    clock = FakeClock()
    return BedrockAdapter(ProviderConfig.model_validate(section), JsonHttp(clock), clock)


def embed(bedrock: FakeBedrock, model_id: str, *texts: str, **fields: Any) -> EmbeddingAnswer:
    call = EmbeddingCall(model_id, texts, **fields)
    return asyncio.run(adapter(bedrock, model_id).embed(call, timeout_s=5))


@pytest.mark.parametrize(
    ("model_id", "fields", "body"),
    [
        (TITAN_V1, {"dimensions": 8}, {"inputText": "a"}),
        (TITAN_V2, {}, {"inputText": "a"}),
        (
            TITAN_V2,
            {"dimensions": 8, "vendor_fields": {"normalize": False}},
            {"inputText": "a", "dimensions": 8, "normalize": False},
        ),
        (
            "amazon.titan-embed-image-v1",
            {"dimensions": 8},
            {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 8}},
        ),
        (
            COHERE,
            {},
            {"texts": ["a"], "input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]},
        ),
        (
            COHERE_V4,
            {"dimensions": 8, "vendor_fields": {"input_type": "search_query"}},
            {
                "texts": ["a"],
                "input_type": "search_query",
                "truncate": "NONE",
                "embedding_types": ["float"],
                "output_dimension": 8,
            },
        ),
        (
            NOVA,
            {"dimensions": 8},
            {
                "schemaVersion": "nova-multimodal-embed-v1",
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "embeddingDimension": 8,
                    "text": {"truncationMode": "NONE", "value": "a"},
                },
            },
        ),
    ],
)
def test_each_family_has_its_own_request(
    bedrock: FakeBedrock, model_id: str, fields: dict[str, Any], body: dict[str, Any]
) -> None:
    answer = embed(bedrock, model_id, "a", **fields)
    assert bedrock.received[0].body == body
    assert bedrock.received[0].path == f"/model/{model_id.replace(':', '%3A')}/invoke"
    assert answer.vectors == [vector_of("a", 8)]
    assert answer.usage == Usage(4 if "inputText" in body else 3)


def test_cohere_embeds_96_texts_in_a_request_and_the_others_one(bedrock: FakeBedrock) -> None:
    assert adapter(bedrock, COHERE, COHERE_V4).embedding_limits.max_texts == 96
    assert adapter(bedrock, TITAN_V2).embedding_limits.max_texts == 1
    assert adapter(bedrock, COHERE, NOVA).embedding_limits.max_texts == 1
    assert embed(bedrock, COHERE, "a", "b").vectors == [vector_of("a", 8), vector_of("b", 8)]


def test_vectors_of_an_old_cohere_are_not_by_type(bedrock: FakeBedrock) -> None:
    bedrock.always(f"/model/{COHERE}/invoke", Reply(body={"embeddings": [[1.0, 2.0]]}))
    assert embed(bedrock, COHERE, "a") == EmbeddingAnswer([[1.0, 2.0]], None)


def test_a_model_of_an_unknown_format_is_refused_before_anything_is_sent(bedrock: FakeBedrock) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE, match="Titan, Nova or Cohere"):
        embed(bedrock, "twelvelabs.marengo-embed-3-0-v1:0", "a")
    assert bedrock.received == []


@pytest.mark.parametrize("body", [{}, {"embedding": None}, {"embedding": "x"}, {"embedding": {}}])
def test_an_answer_without_vectors_is_malformed(bedrock: FakeBedrock, body: dict[str, Any]) -> None:
    bedrock.always(f"/model/{TITAN_V1}/invoke", Reply(body=body))
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        embed(bedrock, TITAN_V1, "a")


def test_a_text_that_is_too_long_is_an_error(bedrock: FakeBedrock) -> None:
    message = "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9001 "
    bedrock.always(f"/model/{TITAN_V1}/invoke", error("ValidationException", message))
    with raises_failure(FailureKind.CONTEXT_LENGTH_EXCEEDED):
        embed(bedrock, TITAN_V1, "a")
