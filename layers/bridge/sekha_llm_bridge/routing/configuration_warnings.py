"""Warnings about a valid configuration that need prices and adapters to find out."""

from collections.abc import Iterable, Iterator

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import ModelConfig
from sekha_llm_bridge.config.vocabulary import ProviderType
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers import has_adapter
from sekha_llm_bridge.routing.cost_quotes import DEFAULT_MAX_OUTPUT_TOKENS


def configuration_warnings(settings: Settings) -> Iterator[str]:
    """Yields the warnings, also for providers that are disabled now."""
    providers = (*settings.providers, *(disabled.config for disabled in settings.disabled))
    usable = ", ".join(kind for kind in ProviderType if has_adapter(kind))
    for provider in providers:
        if not has_adapter(kind := provider.provider_type):
            yield f"{provider.id}: this version cannot talk to providers of type {kind}, only to {usable}"
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


def _names(models: Iterable[ModelConfig]) -> str:
    return ", ".join(dict.fromkeys(model.model_id for model in models))
