"""Every configured model in one flat list, with what planning needs to know of it worked out beforehand."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import DefaultModels, ModelConfig, ProviderConfig, Task
from sekha_llm_bridge.pricing import Price, PriceBook, Tokenizer, image_tokens, tokenizer_of
from sekha_llm_bridge.providers import AdapterCapabilities, capabilities_of, has_adapter

ALIASES: dict[str, Task] = {
    "embedding": Task.EMBEDDING,
    "chat_fast": Task.CHAT_SMALL,
    "chat_smart": Task.CHAT_SMART,
    "chat_vision": Task.VISION,
}
"""The keys of `default_models`, and the task that each stands for."""

ESTIMATED_OUTPUT_TOKENS = 500
ENDLESS = 2**53
_COST_BITS = 101  # more than any cost in pico-USD takes
PICO_USD = Decimal(10) ** 12
_PICO_USD_PER_TOKEN = PICO_USD / Decimal(1_000_000)  # for one USD per million tokens


@dataclass(frozen=True, slots=True)
class IntegerRates:
    """A price in whole numbers, because a thousand models are compared with them for each request.

    Rates are pico-USD per token: `input_rate` and `output_rate` the usual ones, for ranking; `max_input_rate` and
    `max_output_rate` the dearest, rounded up, for limits. `is_flat`: those four are the whole price.
    """

    is_free: bool
    is_flat: bool
    input_rate: int
    output_rate: int
    max_input_rate: int
    max_output_rate: int


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model of one provider; `position` is its place in the file.

    `rank_base` orders by priority, above any cost. `estimated_image_tokens` and `max_image_tokens` are the tokens that
    an image is
    billed as; `max_output` is the longest answer.
    """

    provider: ProviderConfig
    model: ModelConfig
    price: Price | None
    position: int
    has_adapter: bool
    capabilities: AdapterCapabilities
    integer_rates: IntegerRates | None
    tokenizer: Tokenizer | None
    model_id: str
    rank_base: int
    window: int
    max_output: int
    estimated_output: int
    estimated_image_tokens: int
    max_image_tokens: int

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others when it is called: the provider and the model's name there."""
        return self.provider.id, self.model.model_id

    @property
    def is_free(self) -> bool:
        """Whether nothing is ever billed for it."""
        return self.integer_rates is not None and self.integer_rates.is_free

    def serves(self, task: Task | None) -> bool:
        """Whether it is for that task; without one any chat model is."""
        return self.model.is_chat if task is None else self.model.serves(task)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models of all providers in use, in the file's order."""

    models: tuple[CatalogModel, ...]
    defaults: DefaultModels
    usable: Mapping[Task | None, tuple[CatalogModel, ...]]
    repeated: bool

    @classmethod
    def of(cls, settings: Settings, prices: PriceBook) -> "Catalog":
        """The catalog of a configuration."""
        pairs = ((provider, model) for provider in settings.providers for model in provider.models)
        models = tuple(_entry(i, *pair, prices) for i, pair in enumerate(pairs))
        ours = [entry for entry in by_priority(models) if entry.has_adapter]
        usable = {task: tuple(entry for entry in ours if entry.serves(task)) for task in (None, *Task)}
        return cls(models, settings.default_models, usable, len({entry.key for entry in models}) < len(models))

    def default_for(self, task: Task | None) -> str | None:
        """The default model of a task; a chat without a task has that of `chat_fast`."""
        wanted = task or Task.CHAT_SMALL
        return next((getattr(self.defaults, alias) for alias, of in ALIASES.items() if of is wanted), None)

    def named(self, model_id: str) -> tuple[CatalogModel, ...]:
        """The entries with that model_id, of whichever provider."""
        return tuple(entry for entry in self.models if entry.model.model_id == model_id)

    def model_ids(self, entries: Iterable[CatalogModel] | None = None) -> tuple[str, ...]:
        """Each model_id once, in order."""
        return tuple(dict.fromkeys(entry.model.model_id for entry in (self.models if entries is None else entries)))


def by_priority(entries: Iterable[CatalogModel]) -> list[CatalogModel]:
    """The entries by priority, then in the file's order."""
    return sorted(entries, key=lambda entry: (entry.provider.priority, entry.position))


def _entry(position: int, provider: ProviderConfig, model: ModelConfig, prices: PriceBook) -> CatalogModel:
    kind = provider.provider_type
    price = prices.price(provider, model)
    estimated_image_tokens, max_image_tokens = image_tokens(model.model_id)
    return CatalogModel(
        provider=provider,
        model=model,
        price=price,
        position=position,
        has_adapter=has_adapter(kind),
        capabilities=capabilities_of(kind),
        integer_rates=None if price is None else _figures(price),
        tokenizer=tokenizer_of(provider, model.model_id),
        model_id=model.model_id,
        rank_base=provider.priority << _COST_BITS,
        window=model.context_window,
        max_output=model.max_output_tokens or ENDLESS,
        estimated_output=min(ESTIMATED_OUTPUT_TOKENS, model.max_output_tokens or ENDLESS),
        estimated_image_tokens=estimated_image_tokens,
        max_image_tokens=max_image_tokens,
    )


def _figures(price: Price) -> IntegerRates:
    dear_input, dear_output = price.dearest(0)
    return IntegerRates(
        is_free=price.is_free,
        is_flat=not (price.tiers or price.request_usd),
        input_rate=round(price.rates.input_usd_per_mtok * _PICO_USD_PER_TOKEN),
        output_rate=round(price.rates.output_usd_per_mtok * _PICO_USD_PER_TOKEN),
        max_input_rate=math.ceil(dear_input * _PICO_USD_PER_TOKEN),
        max_output_rate=math.ceil(dear_output * _PICO_USD_PER_TOKEN),
    )
