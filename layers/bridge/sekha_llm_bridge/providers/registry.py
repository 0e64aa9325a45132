"""Maps provider types to their adapters. An adapter is only imported when the configuration has its type, so that new
adapters do not slow down the start of functions that do not use them.
"""

from dataclasses import replace
from urllib.parse import urlsplit

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.capabilities import AdapterCapabilities
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.openai.vendors import UNSUPPORTED_FIELDS, VENDORS, vendor_of

_COUNTING_HOSTS = (".api.anthropic.com", ".amazonaws.com", ".amazonaws.com.cn")

__all__ = ["UNSUPPORTED_FIELDS", "capabilities_for", "capabilities_of", "make_provider"]


def capabilities_of(provider_type: ProviderType) -> AdapterCapabilities:
    """Returns what the adapter for that type of provider supports."""
    if provider_type is ProviderType.OLLAMA:
        from sekha_llm_bridge.providers.ollama import adapter as ollama

        return ollama.CAPABILITIES
    if provider_type is ProviderType.ANTHROPIC:
        from sekha_llm_bridge.providers.anthropic import adapter as anthropic

        return anthropic.CAPABILITIES
    if provider_type is ProviderType.BEDROCK:
        from sekha_llm_bridge.providers.bedrock import adapter as bedrock

        return bedrock.CAPABILITIES
    from sekha_llm_bridge.providers.openai import adapter as openai

    return openai.CAPABILITIES


def capabilities_for(config: ProviderConfig) -> AdapterCapabilities:
    """Returns what the adapter of one configured provider supports: that of its type, without what its vendor lacks."""
    capabilities = capabilities_of(config.provider_type)
    if config.provider_type not in VENDORS:
        return replace(capabilities, counts_tokens=capabilities.counts_tokens and _are_counts_trusted(config))
    vendor = vendor_of(config)
    if not (vendor.lacks or vendor.unsupported_fields):
        return capabilities
    return replace(
        capabilities,
        features=capabilities.features - vendor.lacks,
        unsupported_fields=vendor.unsupported_fields,
    )


def _are_counts_trusted(config: ProviderConfig) -> bool:
    """Returns whether a cost limit may rely on the counts of a provider: by default only on those of the vendor itself,
    because a proxy may count with the tokenizer of another model.
    """
    if config.trust_token_counts is not None:
        return config.trust_token_counts
    host = urlsplit(config.base_url or "").hostname or ""
    return config.base_url is None or f".{host}".endswith(_COUNTING_HOSTS)


def make_provider(config: ProviderConfig, http: JsonHttp, clock: Clock) -> Provider:
    """Returns a new adapter for one configured provider."""
    if config.provider_type is ProviderType.OLLAMA:
        from sekha_llm_bridge.providers.ollama.adapter import OllamaAdapter

        return OllamaAdapter(config, http, clock)
    if config.provider_type is ProviderType.ANTHROPIC:
        from sekha_llm_bridge.providers.anthropic.adapter import AnthropicAdapter

        return AnthropicAdapter(config, http, clock)
    if config.provider_type is ProviderType.BEDROCK:
        from sekha_llm_bridge.providers.bedrock.adapter import BedrockAdapter

        return BedrockAdapter(config, http, clock)
    from sekha_llm_bridge.providers.openai.adapter import OpenAIAdapter

    return OpenAIAdapter(config, vendor_of(config), http, clock)
