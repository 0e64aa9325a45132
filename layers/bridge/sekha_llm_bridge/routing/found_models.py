"""Makes models of what providers with `models: auto` have, beside the configured ones.

A task follows from what a model can do and from its size. Where nothing else in the whole configuration is for a chat
task, the most suitable found model takes it over, so that a single pulled model answers every chat.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig
from sekha_llm_bridge.config.vocabulary import Task
from sekha_llm_bridge.found_models import DEFAULT_TAG, FoundModel

LARGE_FROM_PARAMETERS = 20 * 10**9
"""A model with so many parameters is for the tasks chat_smart and chat_large, a smaller one for chat_small."""

_MIN_WINDOW = 4096  # where an old Ollama does not say it: every chat model since Llama 2 has at least this
_SMALL_TASKS = (Task.CHAT_SMALL,)
_LARGE_TASKS = (Task.CHAT_SMART, Task.CHAT_LARGE)


class Offer(NamedTuple):
    """One model of one provider. `found` is what the provider says of it, None where it has no list."""

    provider: ProviderConfig
    model: ModelConfig
    found: FoundModel | None = None
    is_configured: bool = True


def offered_models(providers: Iterable[ProviderConfig], lists: Mapping[str, Sequence[FoundModel]]) -> tuple[Offer, ...]:
    """Returns the models of all providers in their order. A provider with `models: auto` offers what its list has: its
    configured entries first, then the others. Before it has a list, it offers its configured entries.
    """
    offers: list[Offer] = []
    for provider in providers:
        found = lists.get(provider.id) if provider.lists_models else None
        if found is None:
            offers += [Offer(provider, model) for model in provider.models]
        else:
            offers += _offers_of(provider, found)
    return tuple(_with_remaining_tasks(offers))


def why_left_out(found: FoundModel) -> str | None:
    """Returns why a found model is not used unless it is named in `models`; None for one that is."""
    if found.remote_host:
        return "it runs on another server, where it may cost something"
    if "completion" in found.capabilities:
        return None
    if "embedding" not in found.capabilities:
        return "it neither answers chats nor embeds texts"
    return None if found.embedding_length else "the length of its vectors is not known"


def _offers_of(provider: ProviderConfig, found: Sequence[FoundModel]) -> list[Offer]:
    by_id = {one.model_id: one for one in found}
    configured = [(model, by_id.get(model.model_id.removesuffix(DEFAULT_TAG))) for model in provider.models]
    offers = [Offer(provider, model, one) for model, one in configured if one is not None]
    named = {offer.found.name for offer in offers if offer.found}
    others = sorted((one for one in found if one.name not in named and why_left_out(one) is None), key=_order)
    return offers + [Offer(provider, _model(one), one, is_configured=False) for one in others]


def _order(found: FoundModel) -> tuple[bool, bool, int, str]:
    """Sorts the models as they are tried where nothing else decides: chat models before others, small ones before
    large ones, the best of the small ones first, and of the large ones the fastest.
    """
    size = found.parameter_count or 0
    is_large = size >= LARGE_FROM_PARAMETERS
    return "completion" not in found.capabilities, is_large, size if is_large else -size, found.name


def _model(found: FoundModel) -> ModelConfig:
    is_chat = "completion" in found.capabilities
    is_large = (found.parameter_count or 0) >= LARGE_FROM_PARAMETERS
    tasks = (_LARGE_TASKS if is_large else _SMALL_TASKS) if is_chat else ()
    embeds = "embedding" in found.capabilities and found.embedding_length is not None
    return ModelConfig(
        model_id=found.model_id,
        tasks=(*tasks, Task.EMBEDDING) if embeds else tasks,
        context_window=min((size for size in (found.num_ctx, found.context_length) if size), default=_MIN_WINDOW),
        dimension=found.embedding_length if embeds else None,
        supports_vision=is_chat and "vision" in found.capabilities,
        supports_function_calling="tools" in found.capabilities if found.are_capabilities_reported else None,
    )


def _with_remaining_tasks(offers: list[Offer]) -> list[Offer]:
    """Returns the offers, with the chat tasks that none of them is for given to a found model: chat_small to the
    smallest, the others to the largest.
    """
    found = [offer for offer in offers if not offer.is_configured and offer.model.is_chat]
    if not found:
        return offers
    by_size = sorted(found, key=lambda offer: (offer.found and offer.found.parameter_count) or 0)
    gaps = [task for task in (*_SMALL_TASKS, *_LARGE_TASKS) if not any(offer.model.serves(task) for offer in offers)]
    taken = {task: (by_size[0] if task in _SMALL_TASKS else by_size[-1]).model for task in gaps}
    return [_with_tasks(offer, [task for task, model in taken.items() if model is offer.model]) for offer in offers]


def _with_tasks(offer: Offer, tasks: Sequence[Task]) -> Offer:
    if not tasks:
        return offer
    return offer._replace(model=offer.model.model_copy(update={"tasks": (*offer.model.tasks, *tasks)}))
