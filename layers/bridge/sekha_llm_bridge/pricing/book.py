"""The prices of configured models. A model whose price is unknown is not free: its price is None."""

from collections.abc import Callable
from decimal import Decimal
from functools import cached_property

from sekha_llm_bridge.config.models import ModelConfig, Pricing, ProviderConfig, ProviderType
from sekha_llm_bridge.pricing.price import CLAUDE_HOUR_WRITE_FACTOR, CLAUDE_WRITE_FACTOR, FREE, Price, Rates
from sekha_llm_bridge.pricing.snapshot import Snapshot


class PriceBook:
    """Finds the price of a configured model: its own `pricing` in the YAML; else 0 for Ollama; else the price of the
    snapshot, which is read when the first model needs it.
    """

    def __init__(self, load: Callable[[], Snapshot] = Snapshot.load) -> None:
        self._load = load

    @cached_property
    def _snapshot(self) -> Snapshot:
        return self._load()

    def price(self, provider: ProviderConfig, model: ModelConfig) -> Price | None:
        """Returns the price, or None when it is unknown."""
        if model.pricing is not None:
            return _configured(model.pricing, model.model_id)
        if provider.provider_type is ProviderType.OLLAMA:
            return FREE
        # OpenRouter never bills the free variant of a model (its "Free Variant").
        if provider.provider_type is ProviderType.OPENROUTER and model.model_id.endswith(":free"):
            return FREE
        return self._snapshot.price(provider, model)


def _configured(pricing: Pricing, model_id: str) -> Price:
    """Returns a configured price. Where it has no rates for cache writes, those of Claude's models follow from that of
    the input, as at Anthropic; for other models, five minutes cost what the input does, and an hour is not known.
    """
    input_usd, is_claude = pricing.input_usd_per_mtok, "claude" in model_id.lower()
    cached_usd, written_usd = pricing.cached_input_usd_per_mtok, pricing.cache_write_usd_per_mtok
    hour_usd = pricing.hour_cache_write_usd_per_mtok
    if hour_usd is None and is_claude:
        hour_usd = input_usd * CLAUDE_HOUR_WRITE_FACTOR
    rates = Rates(
        input_usd_per_mtok=input_usd,
        output_usd_per_mtok=pricing.output_usd_per_mtok or Decimal(0),
        cached_input_usd_per_mtok=input_usd if cached_usd is None else cached_usd,
        cache_write_usd_per_mtok=input_usd * (CLAUDE_WRITE_FACTOR if is_claude else 1)
        if written_usd is None
        else written_usd,
        hour_cache_write_usd_per_mtok=hour_usd,
    )
    return Price(rates, "config")
