"""Keeps the list of models of a provider with `models: auto`: asks for what is new, and stores what has changed.

A model is described once for each content (digest), because its description does not change with anything else. Where
a description fails, the model keeps the one that it had; a new model is left out until the next check.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.execution.provider_call import call_within
from sekha_llm_bridge.found_models import FoundModel, with_known_description
from sekha_llm_bridge.model_lists import MAX_MODELS, ListsUnavailable, ModelList, ModelListStore
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.providers.base import ModelLister
from sekha_llm_bridge.routing.found_models import why_left_out

_DESCRIPTION_TIMEOUT_S = 5.0
_MAX_CONCURRENT = 4  # Ollama reads the file of each model
_RENEWED_AFTER = timedelta(days=7)  # so that the item does not expire, and that a new Ollama describes its models again
_MAX_LOGGED_NAMES = 20


async def update_list(provider_id: str, listed: Sequence[FoundModel], bridge: Bridge, *, remaining_s: float) -> None:
    """Stores the models that the provider has listed, with their descriptions, if anything has changed. What cannot be
    asked for within `remaining_s` is asked for by the next check. A table that fails is logged, and so are models above
    the number that a list can have.
    """
    lists = bridge.model_lists
    if lists is None:
        return
    if len(listed) > MAX_MODELS:
        logger().error("too many models for a list", extra={"provider": provider_id, "models": len(listed)})
        listed = listed[:MAX_MODELS]
    try:
        before = (await lists.store.read([provider_id])).get(provider_id)
        is_renewal = before is not None and bridge.clock.now() - before.written_at >= _RENEWED_AFTER
        known = () if before is None or is_renewal else before.models
        described = await _descriptions(provider_id, _to_describe(listed, known), bridge, remaining_s=remaining_s)
        models = tuple(_described(listed, known, () if before is None else before.models, described))
        if before is None or is_renewal or models != before.models:
            await _store(provider_id, before, models, lists.store)
    except ListsUnavailable as exc:
        logger().warning("the list of models is not stored", extra={"provider": provider_id, "reason": str(exc)})


def _content(model: FoundModel) -> str:
    """Returns what identifies the content of a model: a server without digests is believed by its names."""
    return model.digest or model.name


def _to_describe(listed: Iterable[FoundModel], known: Iterable[FoundModel]) -> dict[str, FoundModel]:
    """Returns one model for each content that is not known yet. One that runs elsewhere is not used, nor described."""
    contents = {_content(model) for model in known}
    return {_content(model): model for model in listed if not model.remote_host and _content(model) not in contents}


async def _descriptions(
    provider_id: str, models: Mapping[str, FoundModel], bridge: Bridge, *, remaining_s: float
) -> Mapping[str, FoundModel | None]:
    """Returns the described models by their content; None for one that is there no more. Those that failed, or were not
    asked for in time, are missing.
    """
    provider, limit = bridge.providers.get(provider_id), asyncio.Semaphore(_MAX_CONCURRENT)
    found: dict[str, FoundModel | None] = {}
    if not models or not isinstance(provider, ModelLister):
        return found

    async def describe(content: str, model: FoundModel) -> None:
        async with limit:
            try:
                found[content] = await call_within(
                    lambda: provider.describe_model(model, timeout_s=_DESCRIPTION_TIMEOUT_S),
                    provider_id=provider_id,
                    timeout_s=_DESCRIPTION_TIMEOUT_S,
                    timeout_message=f"no answer within {_DESCRIPTION_TIMEOUT_S} s",
                )
            except ProviderError as exc:
                if exc.kind is FailureKind.MODEL_MISSING:
                    found[content] = None
                extra = {"provider": provider_id, "model": model.name, "reason": exc.code}
                logger().warning("a model is not described", extra=extra)

    tasks = [asyncio.ensure_future(describe(content, model)) for content, model in models.items()]
    _, late = await asyncio.wait(tasks, timeout=max(0.0, remaining_s))
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return found


def _described(
    listed: Iterable[FoundModel],
    known: Iterable[FoundModel],
    before: Iterable[FoundModel],
    described: Mapping[str, FoundModel | None],
) -> Iterable[FoundModel]:
    """Yields the listed models with their descriptions: those of now, else the known ones, else the stored one."""
    descriptions: dict[str, FoundModel | None] = {_content(model): model for model in known}
    descriptions |= described
    by_name = {model.name: model for model in before}
    for model in listed:
        if model.remote_host:
            yield model
        elif _content(model) not in descriptions:
            if (former := by_name.get(model.name)) is not None:
                yield former  # with its former digest, so that the next check asks again
        elif (description := descriptions[_content(model)]) is not None:
            yield with_known_description(model, description)


async def _store(
    provider_id: str, before: ModelList | None, models: tuple[FoundModel, ...], store: ModelListStore
) -> None:
    """Replaces the list and logs what has changed. Where another check was first, the next one compares again."""
    if not await store.replace(provider_id, before, models):
        return
    old, new = ({model.name for model in group} for group in ((before.models if before else ()), models))
    if before is None or old != new:
        extra = {"added": _shown(new - old), "removed": _shown(old - new)}
        left_out = {model.name: reason for model in models if (reason := why_left_out(model)) is not None}
        logger().info(
            "models found", extra={"provider": provider_id, "models": len(new), **extra, "left_out": left_out}
        )


def _shown(names: Collection[str]) -> list[str]:
    return sorted(names)[:_MAX_LOGGED_NAMES]
