"""Prices of models. A model without a known price is not free: its price is None."""

from dataclasses import dataclass
from decimal import Decimal

from sekha_llm_bridge.config.models import ModelConfig, Pricing, ProviderConfig, ProviderType

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of each kind. Some providers bill what they write to their cache dearer than other input."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    cached_input_usd_per_mtok: Decimal
    cache_write_usd_per_mtok: Decimal


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a request whose prompt has more than `above_tokens` tokens; they hold for all of its tokens."""

    above_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, and where the figures come from (`config`, `free`, or the snapshot's name and date).

    `tiers` are in ascending order. `request_usd` is billed for each request, whatever its size.
    """

    rates: Rates
    source: str
    tiers: tuple[Tier, ...] = ()
    request_usd: Decimal = Decimal(0)

    def cost_usd(self, usage: Usage) -> Decimal:
        """What a provider bills for that usage."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
        rates = self.rates_at(usage.prompt_tokens)
        tokens_usd = (
            (usage.prompt_tokens - cached - written) * rates.input_usd_per_mtok
            + cached * rates.cached_input_usd_per_mtok
            + written * rates.cache_write_usd_per_mtok
            + usage.completion_tokens * rates.output_usd_per_mtok
        )
        return self.request_usd + tokens_usd / MILLION

    def bound_usd(self, *, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """The most that is billed for at most so many tokens, whatever the provider does with its cache."""
        dearest = self.dearest_rates(prompt_tokens)
        tokens_usd = prompt_tokens * _dearest_input(dearest) + completion_tokens * dearest.output_usd_per_mtok
        return self.request_usd + tokens_usd / MILLION

    def rates_at(self, prompt_tokens: int) -> Rates:
        """The rates of a request with that many prompt tokens."""
        return next((tier.rates for tier in reversed(self.tiers) if prompt_tokens > tier.above_tokens), self.rates)

    @property
    def is_free(self) -> bool:
        """Whether nothing is ever billed."""
        return not self.bound_usd(prompt_tokens=10**12, completion_tokens=1)


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
