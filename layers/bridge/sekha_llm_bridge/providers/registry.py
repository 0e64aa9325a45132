"""Which adapter serves which provider type, and what each cannot do."""

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.ollama.adapter import OllamaAdapter
from sekha_llm_bridge.providers.openai.adapter import (
    AZURE_OPENAI,
    GEMINI,
    GENERIC,
    OPENAI,
    OPENROUTER,
    OpenAIAdapter,
    Vendor,
)

VENDORS: dict[ProviderType, Vendor] = {
    ProviderType.OPENAI: OPENAI,
    ProviderType.AZURE_OPENAI: AZURE_OPENAI,
    ProviderType.OPENROUTER: OPENROUTER,
    ProviderType.GEMINI: GEMINI,
    ProviderType.LITELLM: GENERIC,
}


def has_adapter(provider_type: ProviderType) -> bool:
    """Whether this version can talk to providers of that type."""
    return provider_type in VENDORS or provider_type is ProviderType.OLLAMA


def speaks_openai(provider_type: ProviderType) -> bool:
    """Whether every field of OpenAI's request can be sent on; else only what the adapter translates."""
    return provider_type in VENDORS


def takes_image_urls(provider_type: ProviderType) -> bool:
    """Whether the provider fetches an image by its URL itself."""
    return provider_type in VENDORS


def make_provider(config: ProviderConfig, http: JsonHttp, clock: Clock) -> Provider:
    """The adapter for one configured provider."""
    if config.provider_type is ProviderType.OLLAMA:
        return OllamaAdapter(config, http, clock)
    if (vendor := _vendor(config)) is not None:
        return OpenAIAdapter(config, vendor, http, clock)
    raise ConfigError([f"{config.id}: this version has no adapter for provider_type {config.provider_type.value}"])


def _vendor(config: ProviderConfig) -> Vendor | None:
    """The row of a provider; other servers than OpenAI's that are configured as `openai` know only its older fields."""
    is_elsewhere = config.provider_type is ProviderType.OPENAI and "//api.openai.com" not in (config.base_url or "")
    return GENERIC if is_elsewhere else VENDORS.get(config.provider_type)
