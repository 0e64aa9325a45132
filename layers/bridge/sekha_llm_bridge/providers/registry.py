"""Maps provider types to their adapters. An adapter is only imported when the configuration has its type, so that new
adapters do not slow down the start of functions that do not use them.
"""

from dataclasses import replace

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.capabilities import AdapterCapabilities
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.openai.vendors import UNSUPPORTED_FIELDS, VENDORS, vendor_of

__all__ = ["UNSUPPORTED_FIELDS", "capabilities_for", "capabilities_of", "has_adapter", "make_provider"]


def has_adapter(provider_type: ProviderType) -> bool:
    """Returns whether this version has an adapter for that type of provider."""
    return provider_type in VENDORS or provider_type in {
        ProviderType.OLLAMA,
        ProviderType.ANTHROPIC,
        ProviderType.BEDROCK,
    }


def capabilities_of(provider_type: ProviderType) -> AdapterCapabilities:
    """Returns what the adapter for that type of provider supports: nothing where there is no adapter."""
    if provider_type is ProviderType.OLLAMA:
        from sekha_llm_bridge.providers.ollama import adapter as ollama

        return ollama.CAPABILITIES
    if provider_type is ProviderType.ANTHROPIC:
        from sekha_llm_bridge.providers.anthropic import adapter as anthropic

        return anthropic.CAPABILITIES
    if provider_type is ProviderType.BEDROCK:
        from sekha_llm_bridge.providers.bedrock import adapter as bedrock

        return bedrock.CAPABILITIES
    if provider_type in VENDORS:
        from sekha_llm_bridge.providers.openai import adapter as openai

        return openai.CAPABILITIES
    return AdapterCapabilities()


def capabilities_for(config: ProviderConfig) -> AdapterCapabilities:
    """Returns what the adapter of one configured provider supports: that of its type, without what its vendor lacks."""
    capabilities = capabilities_of(config.provider_type)
    vendor = vendor_of(config)
    if vendor is None or not (vendor.lacks or vendor.unsupported_fields):
        return capabilities
    return replace(
        capabilities,
        features=capabilities.features - vendor.lacks,
        unsupported_fields=vendor.unsupported_fields,
    )


def make_provider(config: ProviderConfig, http: JsonHttp, clock: Clock) -> Provider:
    """Returns a new adapter for one configured provider. Raises `ConfigError` for a type without an adapter."""
    if config.provider_type is ProviderType.OLLAMA:
        from sekha_llm_bridge.providers.ollama.adapter import OllamaAdapter

        return OllamaAdapter(config, http, clock)
    if config.provider_type is ProviderType.ANTHROPIC:
        from sekha_llm_bridge.providers.anthropic.adapter import AnthropicAdapter

        return AnthropicAdapter(config, http, clock)
    if config.provider_type is ProviderType.BEDROCK:
        from sekha_llm_bridge.providers.bedrock.adapter import BedrockAdapter

        return BedrockAdapter(config, http, clock)
    if (vendor := vendor_of(config)) is not None:
        from sekha_llm_bridge.providers.openai.adapter import OpenAIAdapter

        return OpenAIAdapter(config, vendor, http, clock)
    raise ConfigError([f"{config.id}: this version has no adapter for provider_type {config.provider_type.value}"])
