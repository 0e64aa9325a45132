"""The vendors of OpenAI's wire format: one row of data each, with only what the vendor documents as different.

A vendor without a row here is sent what OpenAI is sent, with `max_tokens`: vLLM, SGLang, TGI, LM Studio, llama.cpp,
Together, Fireworks, xAI, NVIDIA NIM, Hugging Face's router, Cloudflare, Perplexity, Bedrock's endpoint of this format.
What such a server refuses all the same is recognised by its answer (`providers.failures`, `openai.adaptations`). So a
row only has what is certain: a wrong entry excludes a model for ever, a missing one costs one call.
"""

from typing import NamedTuple
from urllib.parse import urlsplit

from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.providers.base import BatchLimits
from sekha_llm_bridge.providers.capabilities import RequestFeature

_OPENAI_BATCH_LIMITS = BatchLimits(max_texts=2048, max_tokens=300_000)
_LOGPROBS = frozenset({RequestFeature.LOGPROBS, RequestFeature.TOP_LOGPROBS})


class Vendor(NamedTuple):
    """How one vendor differs from the others.

    `auth_header` carries the key, after `auth_prefix`. `output_cap_field` is the field of the output limit.
    `accepts_price_ceiling`: the vendor chooses among several sellers of a model and accepts a highest price.
    `embedding_limits` are OpenAI's unless the vendor documents its own: a gateway may send the texts on to OpenAI.
    `lacks` and `unsupported_fields` exclude its models from requests that use them; the latter has names as in
    `RouteRequest.used_features`, where `response_format` means a JSON schema. `omitted_fields` do not change the
    answer, and the vendor refuses them. `renamed_fields` are pairs of OpenAI's name and the vendor's.
    `takes_cache_marks`: the marks of Anthropic's kind are sent; vendors without them cache by themselves.
    `models_path` is the path of the list of models on its host, where that is not beside the other operations.
    `responses_fields` are those of OpenAI's Responses API that it takes in chat completions, too, under the same names;
    none has an effect on the answer. `takes_reasoning_details`: it reads `reasoning_details` in earlier answers.
    """

    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    output_cap_field: str = "max_tokens"
    accepts_price_ceiling: bool = False
    embedding_limits: BatchLimits = _OPENAI_BATCH_LIMITS
    lacks: frozenset[RequestFeature] = frozenset()
    unsupported_fields: frozenset[str] = frozenset()
    omitted_fields: frozenset[str] = frozenset()
    renamed_fields: tuple[tuple[str, str], ...] = ()
    takes_cache_marks: bool = True
    models_path: str | None = None
    responses_fields: frozenset[str] = frozenset()
    takes_reasoning_details: bool = False


_GENERIC = Vendor()
_OPENAI = Vendor(
    output_cap_field="max_completion_tokens",
    takes_cache_marks=False,
    responses_fields=frozenset(
        {
            *("service_tier", "safety_identifier"),
            *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
        }
    ),
)
_OPENROUTER = Vendor(accepts_price_ceiling=True, takes_reasoning_details=True)
_GEMINI = Vendor(embedding_limits=BatchLimits(max_texts=100), takes_cache_marks=False)
# console.groq.com/docs/openai, "Currently Unsupported OpenAI Features": a 400.
_GROQ = Vendor(lacks=_LOGPROBS | {RequestFeature.LOGIT_BIAS, RequestFeature.SEVERAL_CHOICES}, takes_cache_marks=False)
# Mistral's OpenAPI specification, ChatCompletionRequest: it has `random_seed`, and none of the fields below; unknown
# ones are a 422 (extra_forbidden). 256 texts: "Too many inputs in request" above that.
_MISTRAL = Vendor(
    embedding_limits=BatchLimits(max_texts=256),
    lacks=_LOGPROBS | {RequestFeature.LOGIT_BIAS},
    omitted_fields=frozenset({"user", "store", "service_tier"}),
    renamed_fields=(("seed", "random_seed"),),
    takes_cache_marks=False,
)
# api-docs.deepseek.com, "Create Chat Completion": `response_format` is text or json_object; a schema is a 400.
_DEEPSEEK = Vendor(unsupported_fields=frozenset({"response_format"}), takes_cache_marks=False)
# inference-docs.cerebras.ai, "OpenAI Compatibility": a 400.
_CEREBRAS = Vendor(
    lacks=frozenset({RequestFeature.LOGIT_BIAS}),
    unsupported_fields=frozenset({"frequency_penalty", "presence_penalty"}),
)
# docs.sambanova.ai, "Create chat-based completion", and SambaNova's Python SDK: "not yet supported by our models", but
# accepted without an error; "currently only base64 encoded image supported".
_SAMBANOVA = Vendor(
    lacks=_LOGPROBS | {RequestFeature.LOGIT_BIAS, RequestFeature.SEVERAL_CHOICES, RequestFeature.IMAGE_BY_URL},
    unsupported_fields=frozenset({"seed"}),
)
# docs.cohere.com, "Using Cohere models via the OpenAI SDK", "Unsupported parameters"; 96 texts: its embed API.
_COHERE = Vendor(
    embedding_limits=BatchLimits(max_texts=96),
    lacks=frozenset(
        {
            *(RequestFeature.AUDIO, RequestFeature.LOGIT_BIAS, RequestFeature.PREDICTION, RequestFeature.TOP_LOGPROBS),
            *(RequestFeature.SEVERAL_CHOICES, RequestFeature.SEQUENTIAL_TOOL_CALLS),
        }
    ),
    unsupported_fields=frozenset({"dimensions"}),
    omitted_fields=frozenset({"user", "store", "metadata", "service_tier", "parallel_tool_calls"}),
)
# alibabacloud.com, Model Studio, "OpenAI compatible - Embedding": ten texts for text-embedding-v3 and v4.
_DASHSCOPE = Vendor(embedding_limits=BatchLimits(max_texts=10))
# docs.github.com, REST API, "Models catalog".
_GITHUB = Vendor(models_path="/catalog/models")
# docs.databricks.com, REST API, "List serving endpoints".
_DATABRICKS = Vendor(models_path="/api/2.0/serving-endpoints")

VENDORS: dict[ProviderType, Vendor] = {
    ProviderType.OPENAI: _OPENAI,
    ProviderType.AZURE_OPENAI: _OPENAI._replace(auth_header="api-key", auth_prefix=""),
    ProviderType.OPENROUTER: _OPENROUTER,
    ProviderType.GEMINI: _GEMINI,
    ProviderType.LITELLM: _GENERIC,
}
VENDORS_BY_HOST = {
    "api.openai.com": _OPENAI,
    "openai.azure.com": _OPENAI,
    "openrouter.ai": _OPENROUTER,
    "generativelanguage.googleapis.com": _GEMINI,
    "api.groq.com": _GROQ,
    "api.mistral.ai": _MISTRAL,
    "api.deepseek.com": _DEEPSEEK,
    "api.cerebras.ai": _CEREBRAS,
    "api.sambanova.ai": _SAMBANOVA,
    "api.cohere.ai": _COHERE,
    "api.cohere.com": _COHERE,
    "dashscope.aliyuncs.com": _DASHSCOPE,
    "dashscope-intl.aliyuncs.com": _DASHSCOPE,
    "maas.aliyuncs.com": _DASHSCOPE,
    "models.github.ai": _GITHUB,
    "cloud.databricks.com": _DATABRICKS,
    "gcp.databricks.com": _DATABRICKS,
    "azuredatabricks.net": _DATABRICKS,
}
"""Rows by host, or by the end of it after a dot, for providers that are configured as `openai`."""

UNSUPPORTED_FIELDS = frozenset().union(*(row.unsupported_fields for row in VENDORS_BY_HOST.values()))
"""The fields that any of the vendors does not support."""


def vendor_of(config: ProviderConfig) -> Vendor:
    """Returns the row of a provider, whose type uses OpenAI's format.

    Other servers configured as `openai` may not know OpenAI's newer fields, so they get the generic row.
    """
    if config.provider_type is not ProviderType.OPENAI or config.base_url is None:
        return VENDORS[config.provider_type]
    host = urlsplit(config.base_url).hostname or ""
    while host:
        if (vendor := VENDORS_BY_HOST.get(host)) is not None:
            return vendor
        host = host.partition(".")[2]
    return _GENERIC
