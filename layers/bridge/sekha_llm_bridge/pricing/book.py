"""The prices of configured models. A model whose price is unknown is not free: its price is None."""

from collections.abc import Callable
from decimal import Decimal
from functools import cached_property

from sekha_llm_bridge.config.models import ModelConfig, Pricing, ProviderConfig, ProviderType
from sekha_llm_bridge.pricing.price import FREE, Price, Rates
from sekha_llm_bridge.pricing.snapshot import Snapshot

_CLAUDE_CACHE_WRITE = Decimal("1.25")


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
    """Returns a configured price. Where it has no rate for cache writes, they cost what the input does; for Claude, a
    quarter more (platform.claude.com, "Prompt caching", "Pricing").
    """
    input_usd = pricing.input_usd_per_mtok
    cached_usd, written_usd = pricing.cached_input_usd_per_mtok, pricing.cache_write_usd_per_mtok
    write_factor = _CLAUDE_CACHE_WRITE if "claude" in model_id.lower() else 1
    rates = Rates(
        input_usd_per_mtok=input_usd,
        output_usd_per_mtok=pricing.output_usd_per_mtok or Decimal(0),
        cached_input_usd_per_mtok=input_usd if cached_usd is None else cached_usd,
        cache_write_usd_per_mtok=input_usd * write_factor if written_usd is None else written_usd,
    )
    return Price(rates, "config")
