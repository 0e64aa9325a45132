"""Warnings about a valid configuration that need prices to find out, and what its cost limit means."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig, RoutingConfig
from sekha_llm_bridge.config.vocabulary import ProviderType
from sekha_llm_bridge.pricing import Price, PriceBook
from sekha_llm_bridge.providers.gateway_fields import names_address_or_key
from sekha_llm_bridge.routing.cost_quotes import DEFAULT_MAX_OUTPUT_TOKENS
from sekha_llm_bridge.routing.names import is_task_name


def configuration_warnings(settings: Settings) -> Iterator[str]:
    """Yields the warnings, also for providers that are disabled now."""
    providers = (*settings.providers, *(disabled.config for disabled in settings.disabled))
    for provider in providers:
        yield from _warnings_on_allowed_fields(provider)
    yield from _warnings_on_found_names(settings, providers)
    limit = settings.routing.configured_max_cost_usd
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


class CostLimitSummary(NamedTuple):
    """The cost limit of every request. `usd` is None where there is none; `is_default`: the file does not mention it.
    `unlimited_models` are those whose cost it does not limit, as provider/model, with the reason.
    """

    usd: Decimal | None
    is_default: bool
    unlimited_models: Mapping[str, str]

    def sentences(self) -> Iterator[str]:
        """Yields what the limit means, in words."""
        if self.usd is None:
            yield (
                "cost limit: none, because max_cost_per_request is null: one request may cost as much as its model's"
                " context window and its `n` allow"
            )
            return
        source = "the default: the file has no max_cost_per_request" if self.is_default else "from the file"
        yield f"cost limit: ${self.usd:f} for one request ({source})"
        for reason in dict.fromkeys(self.unlimited_models.values()):
            names = ", ".join(name for name, its_reason in self.unlimited_models.items() if its_reason == reason)
            yield f"it does not limit {names}: {reason}"


def cost_limit_summary(settings: Settings) -> CostLimitSummary:
    """Returns the cost limit of a configuration, and the models that it does not limit, also those of disabled
    providers.
    """
    routing = settings.routing
    usd, is_default = routing.max_cost_per_request, routing.default_max_cost_usd is not None
    if usd is None or not is_default:  # a limit that the file sets excludes what it cannot limit
        return CostLimitSummary(usd, is_default, {})
    book = PriceBook()
    providers = (*settings.providers, *(disabled.config for disabled in settings.disabled))
    pairs = ((provider, model) for provider in providers for model in provider.models)
    reasons = {
        f"{provider.id}/{model.model_id}": _why_unlimited(model, book.price(provider, model), routing)
        for provider, model in pairs
    }
    return CostLimitSummary(usd, is_default, {name: reason for name, reason in reasons.items() if reason})


def _why_unlimited(model: ModelConfig, price: Price | None, routing: RoutingConfig) -> str:
    if price is None:
        return "its price is not known; give it in `pricing`"
    if not model.is_chat or model.max_output_tokens is not None or routing.max_output_tokens is not None:
        return ""
    longest_usd = price.bound_usd(prompt_tokens=0, completion_tokens=model.context_window)
    is_within = longest_usd <= (routing.max_cost_per_request or 0)
    return "" if is_within else "the length of its answers is not known; give `max_output_tokens`"


def _warnings_on_found_names(settings: Settings, providers: Iterable[ProviderConfig]) -> Iterator[str]:
    """Yields the names of models that are not configured: a provider with `models: auto` may have them."""
    listing = [provider.id for provider in providers if provider.lists_models]
    names = {
        name
        for provider in providers
        for model in provider.models
        for name in (model.model_id, f"{provider.id}/{model.model_id}")
    }
    wanted = [(f"default_models.{name}", model_id) for name, model_id in settings.default_models if model_id]
    wanted += [
        (f"aliases.{alias}", target)
        for alias, targets in settings.aliases.items()
        for target in targets
        if not is_task_name(target)
    ]
    for key, name in wanted if listing else ():
        if name not in names:
            yield f"{key}: {name} is not configured, and can be used while {' or '.join(listing)} has it (models: auto)"


def _warnings_on_allowed_fields(provider: ProviderConfig) -> Iterator[str]:
    if provider.allow_fields and provider.provider_type is ProviderType.OLLAMA:
        yield f"{provider.id}: allow_fields has no effect, because an Ollama is never sent fields that it does not have"
    if addresses := [path for path in provider.allow_fields if names_address_or_key(path.rpartition(".")[2])]:
        decided = "decide where its requests go, or with which key"
        yield f"{provider.id}: allow_fields lets callers {decided}: {', '.join(addresses)}"


def _names(models: Iterable[ModelConfig]) -> str:
    return ", ".join(dict.fromkeys(model.model_id for model in models))
