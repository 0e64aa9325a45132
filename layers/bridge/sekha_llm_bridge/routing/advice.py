"""What a configuration that is valid will still not do: warnings that take more than the file to know."""

from collections.abc import Iterator

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.config.vocabulary import ProviderType
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers import has_adapter


def advice(settings: Settings) -> Iterator[str]:
    """The warnings, also of providers that are disabled now."""
    providers = (*settings.providers, *(left_out.config for left_out in settings.disabled))
    yield from (_no_adapter(provider) for provider in providers if not has_adapter(provider.provider_type))
    limit = settings.routing.max_cost_per_request
    for provider in providers if limit is not None else ():
        unpriced = [model.model_id for model in provider.models if PriceBook().price(provider, model) is None]
        if unpriced:
            names = ", ".join(dict.fromkeys(unpriced))
            excluded = f"the cost limit of ${limit:f} excludes {'it' if len(unpriced) == 1 else 'them'}"
            yield f"{provider.id}: no price is known of {names}: {excluded}; give it in `pricing`"


def _no_adapter(provider: ProviderConfig) -> str:
    usable = ", ".join(kind for kind in ProviderType if has_adapter(kind))
    return f"{provider.id}: this version cannot talk to providers of type {provider.provider_type}, only to {usable}"
