"""Warnings about a valid configuration that need prices to find out."""

from collections.abc import Iterable, Iterator

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig
from sekha_llm_bridge.config.vocabulary import ProviderType
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers.gateway_fields import names_address_or_key
from sekha_llm_bridge.routing.cost_quotes import DEFAULT_MAX_OUTPUT_TOKENS


def configuration_warnings(settings: Settings) -> Iterator[str]:
    """Yields the warnings, also for providers that are disabled now."""
    providers = (*settings.providers, *(disabled.config for disabled in settings.disabled))
    for provider in providers:
        yield from _warnings_on_allowed_fields(provider)
    limit = settings.routing.max_cost_per_request
    book = PriceBook()
    for provider in providers if limit is not None else ():
        prices = [(model, book.price(provider, model)) for model in provider.models]
        if unpriced := _names(model for model, price in prices if price is None):
            excluded = f"the cost limit of ${limit:f} excludes what has none; give it in `pricing`"
            yield f"{provider.id}: no price is known of {unpriced}: {excluded}"
        paid = [model for model, price in prices if price is not None and not price.is_free and model.is_chat]
        if without_maximum := _names(model for model in paid if model.max_output_tokens is None):
            end = f"under a cost limit its answers end at {DEFAULT_MAX_OUTPUT_TOKENS} tokens"
            yield f"{provider.id}: no `max_output_tokens` is given for {without_maximum}: {end}"


def _warnings_on_allowed_fields(provider: ProviderConfig) -> Iterator[str]:
    if provider.allow_fields and provider.provider_type is ProviderType.OLLAMA:
        yield f"{provider.id}: allow_fields has no effect, because an Ollama is never sent fields that it does not have"
    if addresses := [path for path in provider.allow_fields if names_address_or_key(path.rpartition(".")[2])]:
        decided = "decide where its requests go, or with which key"
        yield f"{provider.id}: allow_fields lets callers {decided}: {', '.join(addresses)}"


def _names(models: Iterable[ModelConfig]) -> str:
    return ", ".join(dict.fromkeys(model.model_id for model in models))
