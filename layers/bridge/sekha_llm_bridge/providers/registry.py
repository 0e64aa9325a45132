"""Maps provider types to their adapters."""

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.ollama.adapter import OllamaAdapter
from sekha_llm_bridge.providers.openai.adapter import OpenAIAdapter
from sekha_llm_bridge.providers.openai.vendors import VENDORS, vendor_of


def has_adapter(provider_type: ProviderType) -> bool:
    """Returns whether this version has an adapter for that type of provider."""
    return provider_type in VENDORS or provider_type is ProviderType.OLLAMA


def speaks_openai(provider_type: ProviderType) -> bool:
    """Whether every field of OpenAI's request can be sent on; else only what the adapter translates."""
    return provider_type in VENDORS


def takes_image_urls(provider_type: ProviderType) -> bool:
    """Whether the provider fetches an image by its URL itself."""
    return provider_type in VENDORS


def make_provider(config: ProviderConfig, http: JsonHttp, clock: Clock) -> Provider:
    """Returns a new adapter for one configured provider. Raises `ConfigError` for a type without an adapter."""
    if config.provider_type is ProviderType.OLLAMA:
        return OllamaAdapter(config, http, clock)
    if (vendor := vendor_of(config)) is not None:
        return OpenAIAdapter(config, vendor, http, clock)
    raise ConfigError([f"{config.id}: this version has no adapter for provider_type {config.provider_type.value}"])
