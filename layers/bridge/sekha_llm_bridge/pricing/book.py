"""Prices of models. A model without a known price is not free: its price is None."""

from dataclasses import dataclass
from decimal import Decimal

from sekha_llm_bridge.config.models import ModelConfig, Pricing, ProviderConfig, ProviderType

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, and where the figures come from (`config`, or `free`)."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    cached_input_usd_per_mtok: Decimal
    source: str

    def cost_usd(self, *, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> Decimal:
        """What that many tokens cost; `cached_tokens` are those of the prompt that the provider had in its cache."""
        cached = min(cached_tokens, prompt_tokens)
        return (
            (prompt_tokens - cached) * self.input_usd_per_mtok
            + cached * self.cached_input_usd_per_mtok
            + completion_tokens * self.output_usd_per_mtok
        ) / MILLION

    @property
    def is_free(self) -> bool:
        """Whether nothing is ever billed."""
        return not (self.input_usd_per_mtok or self.output_usd_per_mtok or self.cached_input_usd_per_mtok)


FREE = Price(Decimal(0), Decimal(0), Decimal(0), "free")


class PriceBook:
    """Finds the price of a configured model: its own `pricing` in the YAML; an Ollama without one is free."""

    def price(self, provider: ProviderConfig, model: ModelConfig) -> Price | None:
        """The price, or None when it is not known."""
        if model.pricing is not None:
            return _configured(model.pricing)
        return FREE if provider.provider_type is ProviderType.OLLAMA else None


def _configured(pricing: Pricing) -> Price:
    cached = pricing.cached_input_usd_per_mtok
    return Price(
        input_usd_per_mtok=pricing.input_usd_per_mtok,
        output_usd_per_mtok=pricing.output_usd_per_mtok or Decimal(0),
        cached_input_usd_per_mtok=pricing.input_usd_per_mtok if cached is None else cached,
        source="config",
    )


def usd_text(amount: Decimal) -> str:
    """An amount for people: `0.0000001`, never `1E-7`."""
    return f"{amount.normalize():f}"
