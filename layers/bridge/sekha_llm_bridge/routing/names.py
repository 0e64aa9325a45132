"""What the names in a request's `model` and `preferred_model` mean.

A name is looked for in this order: an alias of the configuration, `auto`, a model_id, `provider/model`, and a key
of `default_models`. So an alias may have the name of a model, to give it others for its failover. An alias that ends
with `*` stands for all other names that begin so. Any other name that ends with `:latest` is the same without that:
Ollama's lists of models have names with a tag, and programs send them to every API.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sekha_llm_bridge.config.models import NamedModels, Task
from sekha_llm_bridge.errors import ModelNotFound
from sekha_llm_bridge.found_models import DEFAULT_TAG
from sekha_llm_bridge.routing.catalog import DEFAULT_NAMES, Catalog, CatalogModel
from sekha_llm_bridge.routing.model_refs import ModelRef

AUTO = "auto"
_MAX_SHOWN_CHARACTERS = 200
_MAX_LISTED_NAMES = 100


class NamedTarget(NamedTuple):
    """What the `model` of a request stands for: models in order, or a task, or neither (any model).

    `is_pinned`: no other model may answer.
    """

    models: tuple[ModelRef, ...] = ()
    task: Task | None = None
    is_pinned: bool = True


def resolve_model(name: str | None, catalog: Catalog) -> NamedTarget:
    """Returns what the `model` field of a request means.

    Raises `ModelNotFound`, which lists what is configured, or says why the model cannot be used.
    """
    if not name:
        return NamedTarget()
    if name in catalog.aliases:
        return _target_of_alias(name, catalog.aliases[name], catalog)
    if name == AUTO:
        return NamedTarget()
    if (ref := model_ref(name, catalog)) is not None:
        return NamedTarget((ref,), is_pinned=catalog.named_models is NamedModels.PINNED)
    if name in DEFAULT_NAMES:
        return NamedTarget(task=DEFAULT_NAMES[name])
    if (targets := _pattern_targets(name, catalog)) is not None:
        return _target_of_alias(name, targets, catalog)
    if (known := without_default_tag(name, catalog)) != name:
        return resolve_model(known, catalog)
    raise model_not_found(name, catalog)


def without_default_tag(name: str, catalog: Catalog) -> str:
    """Returns the name without `:latest` where that is one of the bridge's own names; any other name as it is."""
    untagged = name.removesuffix(DEFAULT_TAG)
    return untagged if untagged == AUTO or untagged in DEFAULT_NAMES or untagged in catalog.aliases else name


def _target_of_alias(name: str, targets: tuple[str, ...], catalog: Catalog) -> NamedTarget:
    refs = [model_ref(target, catalog) for target in targets]
    if any(refs):  # one of a disabled provider stays, for a note
        known = tuple(ref or ModelRef(target) for ref, target in zip(refs, targets, strict=True))
        return NamedTarget(known, is_pinned=catalog.named_models is NamedModels.PINNED)
    if targets == (AUTO,):
        return NamedTarget()
    if (task := task_of(targets[0])) is not None:
        return NamedTarget(task=task)
    raise model_not_found(name, catalog)


def _pattern_targets(name: str, catalog: Catalog) -> tuple[str, ...] | None:
    """Returns what the longest alias with `*` that a name begins with stands for."""
    patterns = [alias for alias in catalog.aliases if alias.endswith("*") and name.startswith(alias[:-1])]
    return catalog.aliases[max(patterns, key=len)] if patterns else None


def resolve_preferred(name: str | None, catalog: Catalog) -> tuple[ModelRef, ...]:
    """Returns the models that `preferred_model` names, in order. One that is not configured is returned, too: the plan
    has a note on it.
    """
    if not name:
        return ()
    targets = catalog.aliases.get(without_default_tag(name, catalog))
    if targets is None:
        targets = (None if model_ref(name, catalog) else _pattern_targets(name, catalog)) or (name,)
    return tuple(model_ref(target, catalog) or ModelRef(target) for target in targets)


def model_ref(name: str, catalog: Catalog) -> ModelRef | None:
    """Returns the model that has the name as its model_id, else as `provider/model`; None for any other. A name without
    a tag and the same with `:latest` are one.
    """
    if (ref := _exact_ref(name, catalog)) is not None:
        return ref
    has_default_tag = name.endswith(DEFAULT_TAG)
    return _exact_ref(name.removesuffix(DEFAULT_TAG) if has_default_tag else name + DEFAULT_TAG, catalog)


def _exact_ref(name: str, catalog: Catalog) -> ModelRef | None:
    if name in catalog.by_model_id:
        return ModelRef(name)
    provider_id, slash, model_id = name.partition("/")
    ref = ModelRef(model_id, provider_id)
    return ref if slash and any(map(ref.matches, catalog.by_model_id.get(model_id, ()))) else None


def own_names(catalog: Catalog) -> dict[str, tuple[CatalogModel, ...]]:
    """Returns the names beside model ids that a request's `model` may have, each with the models that it stands for:
    the aliases, `auto`, and the keys of `default_models` that have a model. A model_id of the same name hides one of
    the latter.
    """
    hidden = {*catalog.by_model_id, *catalog.aliases}
    names: dict[str, tuple[CatalogModel, ...]] = {
        alias: _entries_of(targets, catalog) for alias, targets in catalog.aliases.items()
    }
    names = {alias: entries for alias, entries in names.items() if not alias.endswith("*")}
    names |= {AUTO: catalog.models}
    names |= {name: _serving(task, catalog) for name, task in DEFAULT_NAMES.items() if name not in hidden}
    return {name: entries for name, entries in names.items() if entries}


def model_not_found(name: str, catalog: Catalog) -> ModelNotFound:
    """Returns the error for a name that means no model: it says why the model is disabled, or lists the names that
    there are.
    """
    shown = name[:_MAX_SHOWN_CHARACTERS]
    if disabled := _disabled_reasons(catalog.aliases.get(name, (name,)), catalog):
        return _disabled(shown, disabled)
    names = list(dict.fromkeys([*catalog.model_ids(), *own_names(catalog)]))
    listed = ", ".join(names[:_MAX_LISTED_NAMES]) or "none"
    more = f" and {len(names) - _MAX_LISTED_NAMES} more" if len(names) > _MAX_LISTED_NAMES else ""
    unknown = "".join(f"; {sentence}" for sentence in sentences_on_lists(catalog))
    return ModelNotFound(f"the model {shown!r} is not configured; there are: {listed}{more}{unknown}", param="model")


def sentences_on_lists(catalog: Catalog) -> Iterator[str]:
    """Yields which providers with `models: auto` have no models, or whose models are not known yet."""
    for provider_id in sorted(catalog.unlisted):
        yield f"the models of {provider_id} are not known yet: the scheduled check lists them within a minute"
    for provider_id in sorted(catalog.without_models):
        yield f"{provider_id} has no model that can be used: pull one there"


def why_disabled(ref: ModelRef, catalog: Catalog) -> str | None:
    """Returns why a model that is configured cannot be used; None where it is not configured at all."""
    reasons = _disabled_reasons((str(ref),), catalog)
    return "; ".join(reasons.values()) or None


def is_task_name(name: str) -> bool:
    """Returns whether a name stands for a task, or for any model, and not for a model."""
    return name == AUTO or task_of(name) is not None


def task_of(name: str) -> Task | None:
    """Returns the task that a name stands for; None for any other name."""
    return DEFAULT_NAMES.get(name) or next((task for task in Task if task.value == name), None)


def _serving(task: Task, catalog: Catalog) -> tuple[CatalogModel, ...]:
    return catalog.serving(task)


def _entries_of(targets: tuple[str, ...], catalog: Catalog) -> tuple[CatalogModel, ...]:
    refs = [ref for target in targets if (ref := model_ref(target, catalog)) is not None]
    if not refs and targets == (AUTO,):
        return catalog.models
    if not refs and (task := task_of(targets[0])) is not None:
        return _serving(task, catalog)
    return tuple(entry for ref in refs for entry in catalog.entries(ref.model_id) if ref.matches(entry))


def _disabled(shown: str, reasons: Mapping[str, str]) -> ModelNotFound:
    details = "; ".join(f"provider {provider_id} is disabled: {reason}" for provider_id, reason in reasons.items())
    return ModelNotFound(f"the model {shown!r} is configured, but cannot be used: {details}", param="model")


def _disabled_reasons(names: tuple[str, ...], catalog: Catalog) -> dict[str, str]:
    """Returns the reason of each disabled provider that has one of the models, by the provider's id."""
    return {
        provider.config.id: provider.reason
        for provider in catalog.disabled
        for model in provider.config.models
        if model.model_id in names or f"{provider.config.id}/{model.model_id}" in names
    }
