"""Where the price of a configured model comes from. A model without a known price is not free: its price is None."""

from collections.abc import Callable
from decimal import Decimal
from functools import cached_property

from sekha_llm_bridge.config.models import ModelConfig, Pricing, ProviderConfig, ProviderType
from sekha_llm_bridge.pricing.price import FREE, Price, Rates
from sekha_llm_bridge.pricing.snapshot import Snapshot


class PriceBook:
    """Finds the price of a configured model: its own `pricing` in the YAML; an Ollama without one is free; else that of
    the snapshot, which is read when the first model needs it.
    """

    def __init__(self, load: Callable[[], Snapshot] = Snapshot.load) -> None:
        self._load = load

    @cached_property
    def _snapshot(self) -> Snapshot:
        return self._load()

    def price(self, provider: ProviderConfig, model: ModelConfig) -> Price | None:
        """The price, or None when it is not known."""
        if model.pricing is not None:
            return _configured(model.pricing)
        if provider.provider_type is ProviderType.OLLAMA or _is_openrouters_free(provider, model):
            return FREE
        return self._snapshot.price(provider, model)


def _is_openrouters_free(provider: ProviderConfig, model: ModelConfig) -> bool:
    """OpenRouter serves a model whose name ends so for nothing, or not at all (its "Free Variant")."""
    return provider.provider_type is ProviderType.OPENROUTER and model.model_id.endswith(":free")


def _configured(pricing: Pricing) -> Price:
    usual = pricing.input_usd_per_mtok
    cached, written = pricing.cached_input_usd_per_mtok, pricing.cache_write_usd_per_mtok
    rates = Rates(
        input_usd_per_mtok=usual,
        output_usd_per_mtok=pricing.output_usd_per_mtok or Decimal(0),
        cached_input_usd_per_mtok=usual if cached is None else cached,
        cache_write_usd_per_mtok=usual if written is None else written,
    )
    return Price(rates, "config")
