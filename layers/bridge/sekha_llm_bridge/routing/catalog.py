"""Every configured model in one flat list, with what planning needs computed in advance."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from sekha_llm_bridge.config.loaded import DisabledProvider, Settings
from sekha_llm_bridge.config.models import DefaultModels, ModelConfig, NamedModels, PromptCache, ProviderConfig, Task
from sekha_llm_bridge.found_models import DEFAULT_TAG, NO_LISTS, FoundModel, FoundModels
from sekha_llm_bridge.pricing import Price, PriceBook, Tokenizer, image_tokens, tokenizer_of
from sekha_llm_bridge.providers import (
    AdapterCapabilities,
    CacheSupport,
    RequestFeature,
    cache_support,
    capabilities_for,
)

DEFAULT_NAMES: dict[str, Task] = {
    "embedding": Task.EMBEDDING,
    "chat_fast": Task.CHAT_SMALL,
    "chat_smart": Task.CHAT_SMART,
    "chat_vision": Task.VISION,
}
"""The keys of `default_models`, and the task of each."""

ESTIMATED_OUTPUT_TOKENS = 500
UNLIMITED_TOKENS = 2**53
PRIORITY_SHIFT = 102  # see `planner.sort_key`
PICO_USD = Decimal(10) ** 12
_PICO_USD_PER_TOKEN = PICO_USD / Decimal(1_000_000)  # for one USD per million tokens


@dataclass(frozen=True, slots=True)
class IntegerRates:
    """A price in whole numbers, because integers compare fast and every request compares all models.

    Rates are pico-USD per token: `input_rate` and `output_rate` the usual ones, for ranking; `max_input_rate` and
    `max_output_rate` the highest ones, rounded up, for cost limits. `is_flat`: these are the whole price.
    `write_rate` and `hour_write_rate` are what a token more than the usual costs that is written to the cache for five
    minutes or for an hour; `max_hour_input_rate` is `max_input_rate` for a prompt that may be kept for an hour.
    """

    is_free: bool
    is_flat: bool
    input_rate: int
    output_rate: int
    max_input_rate: int
    max_output_rate: int
    write_rate: int
    hour_write_rate: int
    max_hour_input_rate: int


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model of one provider; `position` is its place in the file.

    `priority_bits` is the provider's priority in its place in the sort key. `estimated_image_tokens` and
    `max_image_tokens` are the tokens for which an image is billed. `max_output` is the
    maximum of output tokens for one choice. `min_marked_prefix` is the number of tokens from which on the bridge marks
    the beginning of a prompt for the cache; None: it does not. `found` is what its provider says of it, None unless the
    provider has `models: auto` and a list.
    """

    provider: ProviderConfig
    model: ModelConfig
    price: Price | None
    position: int
    capabilities: AdapterCapabilities
    integer_rates: IntegerRates | None
    tokenizer: Tokenizer | None
    model_id: str
    priority_bits: int
    window: int
    max_output: int
    estimated_output_tokens: int
    estimated_image_tokens: int
    max_image_tokens: int
    cache: CacheSupport
    min_marked_prefix: int | None
    found: FoundModel | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The provider's id and the model's id, which together identify what is called."""
        return self.provider.id, self.model.model_id

    @property
    def takes_images_by_url(self) -> bool:
        """Whether its provider downloads images itself."""
        return RequestFeature.IMAGE_BY_URL in self.capabilities.features

    @property
    def is_free(self) -> bool:
        """Whether the provider never bills it."""
        return self.integer_rates is not None and self.integer_rates.is_free

    def serves(self, task: Task | None) -> bool:
        """Returns whether the model is for the task; without a task, whether it is a chat model."""
        return self.model.is_chat if task is None else self.model.serves(task)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models of all enabled providers, in the order of the file.

    `by_model_id` has the models of each model_id. `aliases` has for each alias of the configuration the names that it
    stands for. `disabled` are the providers that are not used. `pending` has the ids of the providers whose secrets
    could not be fetched yet, with the reason; their models are in the catalog, and not called. `usable` has the models
    of each task, by priority. `has_repeated_models`: a provider lists the same model twice, for two tasks.

    `listing` are the ids of the providers with `models: auto`, `unlisted` of those whose models are not known yet, and
    `without_models` of those that have none. `absent_space` is the embedding space of a default model that such a
    provider may have, but has not; None where the default is there.
    """

    models: tuple[CatalogModel, ...]
    by_model_id: Mapping[str, tuple[CatalogModel, ...]]
    defaults: DefaultModels
    aliases: Mapping[str, tuple[str, ...]]
    named_models: NamedModels
    disabled: tuple[DisabledProvider, ...]
    usable: Mapping[Task | None, tuple[CatalogModel, ...]]
    has_repeated_models: bool
    pending: Mapping[str, str]
    listing: frozenset[str] = frozenset()
    unlisted: frozenset[str] = frozenset()
    without_models: frozenset[str] = frozenset()
    absent_space: str | None = None

    @classmethod
    def of(cls, settings: Settings, prices: PriceBook, lists: FoundModels = NO_LISTS) -> "Catalog":
        """Returns the catalog of a configuration. `lists` has the models of the providers with `models: auto` whose
        models are known, by their ids.
        """
        listing = frozenset(provider.id for provider in settings.providers if provider.lists_models)
        models = _listed_entries(settings, prices, lists) if listing else _configured_entries(settings, prices)
        ordered = by_priority(models)
        usable = {task: tuple(entry for entry in ordered if entry.serves(task)) for task in (None, *Task)}
        by_model_id: dict[str, tuple[CatalogModel, ...]] = {}
        for entry in models:
            by_model_id[entry.model_id] = (*by_model_id.get(entry.model_id, ()), entry)
        defaults = _present_defaults(settings.default_models, by_model_id) if listing else settings.default_models
        return cls(
            models=models,
            by_model_id=by_model_id,
            defaults=defaults,
            aliases=settings.aliases,
            named_models=settings.routing.named_models,
            disabled=settings.disabled,
            usable=usable,
            has_repeated_models=len({entry.key for entry in models}) < len(models),
            pending=settings.pending,
            listing=listing,
            unlisted=listing - lists.keys(),
            without_models=(listing & lists.keys()) - {entry.provider.id for entry in models},
            absent_space=_absent_space(defaults.embedding, settings, by_model_id) if listing else None,
        )

    def default_for(self, task: Task | None) -> str | None:
        """Returns the default model of a task; a chat without a task has that of `chat_fast`."""
        wanted = task or Task.CHAT_SMALL
        return next((getattr(self.defaults, alias) for alias, of in DEFAULT_NAMES.items() if of is wanted), None)

    def present_default_for(self, task: Task) -> str | None:
        """Returns the default model of a task, if the catalog has it: its provider may be disabled, or not have it."""
        default = self.default_for(task)
        return default if default in self.by_model_id else None

    def entries(self, model_id: str) -> tuple[CatalogModel, ...]:
        """Returns the entries of all providers with that model_id."""
        return self.by_model_id.get(model_id, ())

    def serving(self, task: Task) -> tuple[CatalogModel, ...]:
        """Returns the models that may be used for a task, in the order of the file."""
        return tuple(sorted(self.usable[task], key=lambda entry: entry.position))

    def model_ids(self, entries: Iterable[CatalogModel] | None = None) -> tuple[str, ...]:
        """Returns each model_id once, in order; of all models where no `entries` are given."""
        return tuple(dict.fromkeys(entry.model.model_id for entry in (self.models if entries is None else entries)))


def by_priority(entries: Iterable[CatalogModel]) -> list[CatalogModel]:
    """Returns the entries by priority, then in the order of the file."""
    return sorted(entries, key=lambda entry: (entry.provider.priority, entry.position))


def _configured_entries(settings: Settings, prices: PriceBook) -> tuple[CatalogModel, ...]:
    pairs = ((provider, model) for provider in settings.providers for model in provider.models)
    return tuple(_entry(i, *pair, prices, settings.routing.prompt_cache) for i, pair in enumerate(pairs))


def _listed_entries(settings: Settings, prices: PriceBook, lists: FoundModels) -> tuple[CatalogModel, ...]:
    from sekha_llm_bridge.routing.found_models import offered_models  # few configurations have `models: auto`

    offers = offered_models(settings.providers, lists)
    marks = settings.routing.prompt_cache
    return tuple(_entry(i, offer.provider, offer.model, prices, marks, offer.found) for i, offer in enumerate(offers))


def _present_defaults(defaults: DefaultModels, by_model_id: Mapping[str, tuple[CatalogModel, ...]]) -> DefaultModels:
    """Returns the default models as the catalog spells them: Ollama's `x:latest` is `x`."""
    spelt = {name: (model_id or "").removesuffix(DEFAULT_TAG) for name, model_id in defaults}
    return defaults.model_copy(
        update={
            name: spelt[name]
            for name, model_id in defaults
            if model_id not in by_model_id and spelt[name] in by_model_id
        }
    )


def _absent_space(
    model_id: str | None, settings: Settings, by_model_id: Mapping[str, tuple[CatalogModel, ...]]
) -> str | None:
    if model_id is None or model_id in by_model_id:
        return None
    configured = (model for provider in settings.providers for model in provider.models)
    return next((model.space for model in configured if model.model_id == model_id), model_id)


def _entry(
    position: int,
    provider: ProviderConfig,
    model: ModelConfig,
    prices: PriceBook,
    prompt_cache: PromptCache,
    found: FoundModel | None = None,
) -> CatalogModel:
    price, cache = prices.price(provider, model), cache_support(provider, model.model_id)
    is_marked = (provider.prompt_cache or prompt_cache) is PromptCache.AUTO
    estimated_image_tokens, max_image_tokens = image_tokens(model.model_id)
    return CatalogModel(
        provider=provider,
        model=model,
        price=price,
        position=position,
        capabilities=capabilities_for(provider),
        integer_rates=None if price is None else _integer_rates(price),
        tokenizer=tokenizer_of(provider, model.model_id),
        model_id=model.model_id,
        priority_bits=provider.priority << PRIORITY_SHIFT,
        window=model.context_window,
        max_output=model.max_output_tokens or UNLIMITED_TOKENS,
        estimated_output_tokens=min(ESTIMATED_OUTPUT_TOKENS, model.max_output_tokens or UNLIMITED_TOKENS),
        estimated_image_tokens=estimated_image_tokens,
        max_image_tokens=max_image_tokens,
        cache=cache,
        min_marked_prefix=cache.min_prefix_tokens if is_marked else None,
        found=found,
    )


def _integer_rates(price: Price) -> IntegerRates:
    max_input, max_output = price.max_rates(0)
    rates = price.rates
    input_rate = _pico_usd_per_token(rates.input_usd_per_mtok)
    return IntegerRates(
        is_free=price.is_free,
        is_flat=not (price.tiers or price.request_usd),
        input_rate=input_rate,
        output_rate=_pico_usd_per_token(rates.output_usd_per_mtok),
        max_input_rate=math.ceil(max_input * _PICO_USD_PER_TOKEN),
        max_output_rate=math.ceil(max_output * _PICO_USD_PER_TOKEN),
        write_rate=_pico_usd_per_token(rates.cache_write_usd_per_mtok) - input_rate,
        hour_write_rate=_pico_usd_per_token(rates.hour_write_usd_per_mtok) - input_rate,
        max_hour_input_rate=math.ceil(price.max_rates(0, is_hour_cache=True)[0] * _PICO_USD_PER_TOKEN),
    )


def _pico_usd_per_token(usd_per_mtok: Decimal) -> int:
    return round(usd_per_mtok * _PICO_USD_PER_TOKEN)
