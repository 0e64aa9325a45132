"""The rows of vendors with OpenAI's format: found by type or host, one case each."""

from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.pricing import TokenCount
from sekha_llm_bridge.providers import RequestedFeature, RequestFeature, capabilities_for
from sekha_llm_bridge.providers.addresses import addresses_of
from sekha_llm_bridge.providers.openai.vendors import UNSUPPORTED_FIELDS, VENDORS_BY_HOST, Vendor, vendor_of
from sekha_llm_bridge.routing import RouteRequest, RoutingContext, plan
from tests.fakes.settings import chat_model, make_settings, provider

F = RequestFeature
GENERIC = Vendor()


def config(base_url: str | None, kind: str = "openai") -> ProviderConfig:
    fields = {} if base_url is None else {"base_url": base_url}
    return ProviderConfig.model_validate(provider("p", chat_model("m"), provider_type=kind, api_key="key", **fields))


def row(base_url: str | None, kind: str = "openai") -> Vendor:
    found = vendor_of(config(base_url, kind))
    assert found is not None
    return found


CACHE_FIELDS = {"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}
OPENAI: dict[str, Any] = {
    "output_cap_field": "max_completion_tokens",
    "takes_cache_marks": False,
    "responses_fields": {"service_tier", "safety_identifier", *CACHE_FIELDS},
}
OPENROUTER: dict[str, Any] = {"accepts_price_ceiling": True, "takes_reasoning_details": True}
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("https://api.openai.com/v1", OPENAI),
    ("https://r.openai.azure.com/openai/v1", OPENAI),
    ("https://openrouter.ai/api/v1", OPENROUTER),
    ("https://generativelanguage.googleapis.com/v1beta/openai", {"max_texts": 100, "takes_cache_marks": False}),
    (
        "https://api.groq.com/openai/v1",
        {"lacks": {F.LOGPROBS, F.TOP_LOGPROBS, F.LOGIT_BIAS, F.SEVERAL_CHOICES}, "takes_cache_marks": False},
    ),
    (
        "https://api.mistral.ai/v1",
        {
            "max_texts": 256,
            "lacks": {F.LOGPROBS, F.TOP_LOGPROBS, F.LOGIT_BIAS},
            "renamed_fields": (("seed", "random_seed"),),
            "omitted_fields": {"user", "store", "service_tier"},
            "takes_cache_marks": False,
        },
    ),
    ("https://api.deepseek.com", {"unsupported_fields": {"response_format"}, "takes_cache_marks": False}),
    (
        "https://api.cerebras.ai/v1",
        {"lacks": {F.LOGIT_BIAS}, "unsupported_fields": {"frequency_penalty", "presence_penalty"}},
    ),
    (
        "https://api.sambanova.ai/v1",
        {
            "lacks": {F.LOGPROBS, F.TOP_LOGPROBS, F.LOGIT_BIAS, F.SEVERAL_CHOICES, F.IMAGE_BY_URL},
            "unsupported_fields": {"seed"},
        },
    ),
    (
        "https://api.cohere.ai/compatibility/v1",
        {
            "max_texts": 96,
            "lacks": {
                *(F.AUDIO, F.LOGIT_BIAS, F.PREDICTION, F.TOP_LOGPROBS, F.SEVERAL_CHOICES, F.SEQUENTIAL_TOOL_CALLS)
            },
            "unsupported_fields": {"dimensions"},
            "omitted_fields": {"user", "store", "metadata", "service_tier", "parallel_tool_calls"},
        },
    ),
    ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", {"max_texts": 10}),
    ("https://w1.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1", {"max_texts": 10}),
    ("https://models.github.ai/inference", {"models_path": "/catalog/models"}),
    ("https://dbc-1.cloud.databricks.com/serving-endpoints", {"models_path": "/api/2.0/serving-endpoints"}),
    ("https://adb-1.7.azuredatabricks.net/serving-endpoints", {"models_path": "/api/2.0/serving-endpoints"}),
]


@pytest.mark.parametrize(("base_url", "differences"), ROWS, ids=[url.split("/")[2] for url, _ in ROWS])
def test_a_vendor_is_found_by_its_host_and_differs_only_as_it_documents(
    base_url: str, differences: dict[str, Any]
) -> None:
    found = row(base_url)._asdict()
    limits = found.pop("embedding_limits")
    expected = {**GENERIC._asdict(), **differences}
    expected.pop("embedding_limits")
    assert limits.max_texts == expected.pop("max_texts", 2048)
    assert found == expected


def test_every_row_has_a_case() -> None:
    assert {id(row(url)) for url, _ in ROWS} == {id(vendor) for vendor in VENDORS_BY_HOST.values()}


AS_OPENAI = [
    *("http://localhost:8000/v1", "http://localhost:30000/v1", "http://localhost:1234/v1", "http://127.0.0.1:8080/v1"),
    *("https://api.together.xyz/v1", "https://api.fireworks.ai/inference/v1", "https://api.x.ai/v1"),
    *("https://api.perplexity.ai", "https://integrate.api.nvidia.com/v1", "https://router.huggingface.co/v1"),
    "https://api.cloudflare.com/client/v4/accounts/a/ai/v1",
    "https://bedrock-runtime.eu-central-1.amazonaws.com/openai/v1",
    *("https://api.openai.com.evil.example/v1", "https://notapi.groq.com.example/v1", "https://xapi.mistral.ai/v1"),
]  # fmt: skip


@pytest.mark.parametrize("base_url", AS_OPENAI)
def test_any_other_host_gets_the_generic_row(base_url: str) -> None:
    assert row(base_url) == GENERIC


@pytest.mark.parametrize(
    ("kind", "base_url", "differences"),
    [
        ("openai", None, OPENAI),
        (
            "azure_openai",
            "https://r.openai.azure.com",
            {**OPENAI, "auth_header": "api-key", "auth_prefix": ""},
        ),
        ("openrouter", None, OPENROUTER),
        ("litellm", "http://localhost:4000", {}),
        ("openrouter", "https://api.groq.com/v1", OPENROUTER),
    ],
)
def test_a_type_of_its_own_has_its_own_row_wherever_it_is(
    kind: str, base_url: str | None, differences: dict[str, Any]
) -> None:
    assert row(base_url, kind) == GENERIC._replace(**differences)


def test_the_free_call_goes_where_the_vendor_lists_its_models() -> None:
    github = addresses_of(config("https://models.github.ai/orgs/o/inference"))
    assert github.models == "https://models.github.ai/catalog/models"
    assert github.chat == "https://models.github.ai/orgs/o/inference/chat/completions"
    databricks = addresses_of(config("https://d.cloud.databricks.com/serving-endpoints"))
    assert databricks.models == "https://d.cloud.databricks.com/api/2.0/serving-endpoints"


def test_what_a_vendor_lacks_is_no_capability_of_its_provider() -> None:
    groq = capabilities_for(config("https://api.groq.com/openai/v1"))
    assert groq.missing([RequestedFeature(F.LOGPROBS), RequestedFeature(F.SEVERAL_CHOICES)]) == ["logprobs", "n > 1"]
    assert (
        capabilities_for(config("https://api.together.xyz/v1")).missing(
            map(RequestedFeature, set(F) - {F.ANTHROPIC_CONTENT})
        )
        == []
    )


def why_not(base_url: str, **request: Any) -> str | None:
    """Why the model of this vendor is excluded; None where it is planned."""
    bridge = make_bridge(make_settings(provider("p", chat_model("m"), base_url=base_url, api_key="key")))
    planned = plan(RouteRequest(None, TokenCount(10, 10, 10), **request), bridge.catalog, RoutingContext())
    exclusion = planned.considered_models[0].exclusion
    return None if exclusion is None else exclusion.reason


@pytest.mark.parametrize(
    ("base_url", "field"),
    [("https://api.deepseek.com", "response_format"), ("https://api.sambanova.ai/v1", "seed"),
     ("https://api.cerebras.ai/v1", "frequency_penalty")],
)  # fmt: skip
def test_a_model_is_not_asked_for_what_its_vendor_does_not_support(base_url: str, field: str) -> None:
    assert why_not(base_url, used_features=frozenset({field, "temperature"})) == f"its vendor has no {field}"
    assert why_not(base_url, used_features=frozenset({"temperature"})) is None
    assert why_not("https://api.together.xyz/v1", used_features=frozenset({field})) is None
    assert field in UNSUPPORTED_FIELDS
