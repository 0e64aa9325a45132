"""Every configured model in one flat list, with what planning needs to know of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import DefaultModels, ModelConfig, ProviderConfig, Task
from sekha_llm_bridge.pricing import Price, PriceBook
from sekha_llm_bridge.providers import has_adapter, takes_image_urls
from sekha_llm_bridge.providers.registry import speaks_openai

ALIASES: dict[str, Task] = {
    "embedding": Task.EMBEDDING,
    "chat_fast": Task.CHAT_SMALL,
    "chat_smart": Task.CHAT_SMART,
    "chat_vision": Task.VISION,
}
"""The keys of `default_models`, and the task that each stands for."""


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model of one provider; `position` is its place in the file."""

    provider: ProviderConfig
    model: ModelConfig
    price: Price | None
    position: int
    has_adapter: bool
    speaks_openai: bool
    takes_image_urls: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models of all providers in use, in the file's order."""

    models: tuple[CatalogModel, ...]
    defaults: DefaultModels

    @classmethod
    def of(cls, settings: Settings, prices: PriceBook) -> "Catalog":
        """The catalog of a configuration."""
        pairs = ((provider, model) for provider in settings.providers for model in provider.models)
        return cls(tuple(_entry(i, *pair, prices) for i, pair in enumerate(pairs)), settings.default_models)

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


def _entry(position: int, provider: ProviderConfig, model: ModelConfig, prices: PriceBook) -> CatalogModel:
    kind = provider.provider_type
    return CatalogModel(
        provider,
        model,
        prices.price(provider, model),
        position,
        has_adapter(kind),
        speaks_openai(kind),
        takes_image_urls(kind),
    )
