"""What each adapter supports of a chat request, and how the features that it lacks are named."""

import pytest

from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.providers import RequestedFeature, RequestFeature, capabilities_of

EVERY_FEATURE = [RequestedFeature(feature) for feature in RequestFeature]
OPENAIS = [one for one in EVERY_FEATURE if one.feature is not RequestFeature.ANTHROPIC_CONTENT]


@pytest.mark.parametrize("kind", ["openai", "azure_openai", "openrouter", "gemini", "litellm"])
def test_an_openai_compatible_provider_supports_every_feature_and_field(kind: str) -> None:
    capabilities = capabilities_of(ProviderType(kind))
    assert capabilities.missing(OPENAIS) == []
    assert capabilities.translated_fields is None


def test_ollama_supports_logprobs_and_no_other_feature_of_openais_and_translates_the_usual_fields() -> None:
    capabilities = capabilities_of(ProviderType.OLLAMA)
    supported = {RequestFeature.LOGPROBS, RequestFeature.TOP_LOGPROBS}
    assert capabilities.missing(EVERY_FEATURE) == sorted(one.value for one in set(RequestFeature) - supported)
    assert capabilities.translated_fields is not None
    assert {"messages", "tools", "temperature", "max_tokens", "keep_alive"} <= capabilities.translated_fields
    assert "logit_bias" not in capabilities.translated_fields


def test_missing_features_are_named_in_order_with_their_details() -> None:
    requested = {
        RequestedFeature(RequestFeature.SEVERAL_CHOICES),
        RequestedFeature(RequestFeature.LOGIT_BIAS),
        RequestedFeature(RequestFeature.OTHER_CONTENT_PART, "video"),
        RequestedFeature(RequestFeature.OTHER_CONTENT_PART, "file"),
    }
    missing = capabilities_of(ProviderType.OLLAMA).missing(requested)
    assert missing == ["content of type file", "content of type video", "logit_bias", "n > 1"]
