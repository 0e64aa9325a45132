"""The catalog that an API key sees: the configured models that its policy allows. Everything that names, lists or plans
models uses it, so a model that a key may not use does not exist for that key.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from sekha_llm_bridge.access.caller import KeyPolicy
from sekha_llm_bridge.config.vocabulary import CHAT_TASKS, Task
from sekha_llm_bridge.errors import ModelNotFound
from sekha_llm_bridge.routing.catalog import Catalog, CatalogModel
from sekha_llm_bridge.routing.model_refs import ModelRef
from sekha_llm_bridge.routing.names import AUTO, model_ref, resolve_model, task_of

_MAX_KEPT = 100
_ALL_OF_PROVIDER = "/*"


class KeyCatalogs:
    """The catalogs by policy. They are kept, because a restricted one takes time to make."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: dict[tuple[tuple[str, ...], tuple[Task, ...]], Catalog] = {}

    def of(self, policy: KeyPolicy) -> Catalog:
        """Returns the catalog for a policy; the whole one where it allows everything."""
        if not policy.models and not policy.tasks:
            return self._catalog
        key = policy.models, policy.tasks
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            found = self._kept[key] = restricted(self._catalog, models=policy.models, tasks=policy.tasks)
        return found


def restricted(catalog: Catalog, *, models: Collection[str], tasks: Collection[Task]) -> Catalog:
    """Returns the catalog with only these models, for only these tasks; empty collections restrict nothing."""
    is_named = _is_named(models, catalog)
    allowed = frozenset(tasks or Task)
    kept = tuple(entry for entry in catalog.models if is_named(entry) and _has_task(entry, allowed))
    positions = {entry.position for entry in kept}
    by_model_id = {model_id: _kept(entries, positions) for model_id, entries in catalog.by_model_id.items()}
    usable = {
        task: _kept(entries, positions, allowed & (CHAT_TASKS if task is None else {task}))
        for task, entries in catalog.usable.items()
    }
    without_names = replace(
        catalog,
        models=kept,
        by_model_id={model_id: entries for model_id, entries in by_model_id.items() if entries},
        defaults=catalog.defaults.model_copy(
            update={name: None for name, model_id in catalog.defaults if model_id not in _model_ids(kept)}
        ),
        disabled=(),
        usable=usable,
        unlisted=_providers_of(models, catalog.unlisted, catalog),
        without_models=_providers_of(models, catalog.without_models, catalog),
        absent_space=catalog.absent_space if _may_have_default(models, catalog) else None,
    )
    aliases = {name: _known(targets, without_names) for name, targets in catalog.aliases.items()}
    return replace(without_names, aliases={name: targets for name, targets in aliases.items() if targets})


def _is_named(names: Collection[str], catalog: Catalog) -> Callable[[CatalogModel], bool]:
    if not names:
        return lambda _entry: True
    providers = {name.removesuffix(_ALL_OF_PROVIDER) for name in names if name.endswith(_ALL_OF_PROVIDER)}
    refs: set[ModelRef] = set()
    tasks: set[Task] = set()
    for name in names:
        try:
            target = resolve_model(name, catalog)
        except ModelNotFound:  # also `provider/*`, and a model that is not configured any more
            continue
        refs.update(target.models)
        tasks.update({target.task} if target.task else ())
    return lambda entry: (
        entry.provider.id in providers
        or any(ref.matches(entry) for ref in refs)
        or any(entry.serves(task) for task in tasks)
    )


def _providers_of(names: Collection[str], provider_ids: frozenset[str], catalog: Catalog) -> frozenset[str]:
    """Returns the providers that may have a model of these names later: all where a name means nothing yet."""
    if not names or any(_is_unknown(name, catalog) for name in names):
        return provider_ids
    return frozenset(one for one in provider_ids if one + _ALL_OF_PROVIDER in names)


def _is_unknown(name: str, catalog: Catalog) -> bool:
    if name.endswith(_ALL_OF_PROVIDER):
        return False
    try:
        resolve_model(name, catalog)
    except ModelNotFound:
        return True
    return False


def _may_have_default(names: Collection[str], catalog: Catalog) -> bool:
    """Returns whether the default embedding model, which is not there now, is one of these names."""
    default = catalog.defaults.embedding or ""
    return not names or any(
        name == default or name.endswith(f"/{default}") or name.removesuffix(_ALL_OF_PROVIDER) in catalog.listing
        for name in names
    )


def _has_task(entry: CatalogModel, tasks: Iterable[Task]) -> bool:
    return any(entry.serves(task) for task in tasks)


def _kept(
    entries: Iterable[CatalogModel], positions: Collection[int], tasks: Collection[Task] = frozenset(Task)
) -> tuple[CatalogModel, ...]:
    return tuple(entry for entry in entries if entry.position in positions and _has_task(entry, tasks))


def _model_ids(entries: Iterable[CatalogModel]) -> frozenset[str]:
    return frozenset(entry.model_id for entry in entries)


def _known(targets: tuple[str, ...], catalog: Catalog) -> tuple[str, ...]:
    """Returns the targets of an alias that the catalog has: models, and tasks with a model."""
    tasks = {target: task_of(target) for target in targets}
    return tuple(
        target
        for target in targets
        if target == AUTO
        or model_ref(target, catalog) is not None
        or ((task := tasks[target]) is not None and catalog.usable[task])
    )
