"""Checks rules that involve several sections: unique ids, no duplicate models, default models that exist. Where a
provider lists its models by itself (`models: auto`), a name may be one of those, so it is no fault.

The checks use the data, not the validated file, so that they also run when a section is invalid.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from sekha_llm_bridge.config.document import Data, Document
from sekha_llm_bridge.config.fault import Fault, KeyPath
from sekha_llm_bridge.config.faults import describe_value, format_key_path, list_names, suggest_name
from sekha_llm_bridge.config.models import DefaultModels, ModelConfig, Task, has_auto

_RESERVED_NAMES = frozenset({"auto", *DefaultModels.model_fields})
_TASK_KEYS = ("model_id", "task", "tasks", "supports_vision")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of one provider.

    Only the tasks and capabilities of `model` are valid. It is None when they are invalid or have no value.
    """

    key_path: KeyPath
    model_id: str
    model: ModelConfig | None

    @property
    def provider_path(self) -> KeyPath:
        """The key path of the provider of the model."""
        return self.key_path[:2]

    def can_be_default(self, default: str) -> bool:
        """Returns whether the model can be the default model `default`, and True when its tasks are not known."""
        if self.model is None:
            return True
        if default == "embedding":
            return self.model.serves(Task.EMBEDDING)
        return self.model.has_vision if default == "chat_vision" else self.model.is_chat


def check_sections(document: Document, data: Data, unknown_tasks: frozenset[KeyPath]) -> Iterator[Fault]:
    """Yields the faults between sections. `unknown_tasks` are the key paths of models whose tasks have no value."""
    entries = list(_model_entries(data, unknown_tasks))
    yield from _duplicate_ids(data)
    yield from _duplicate_models(entries)
    yield from _default_model_faults(document, data, entries)
    yield from _alias_faults(document, data, entries)


def _providers(data: Data) -> Iterator[tuple[KeyPath, dict[str, Data]]]:
    for index, provider in enumerate(_list(data, "providers")):
        if isinstance(provider, dict):
            yield ("providers", index), provider


def _model_entries(data: Data, unknown_tasks: frozenset[KeyPath]) -> Iterator[ModelEntry]:
    for provider_path, provider in _providers(data):
        for index, model in enumerate(_list(provider, "models")):
            if isinstance(model, dict) and isinstance(model_id := model.get("model_id"), str):
                key_path = (*provider_path, "models", index)
                parsed = None if key_path in unknown_tasks else _model_with_tasks(model)
                yield ModelEntry(key_path, model_id.strip(), parsed)


def _model_with_tasks(model: dict[str, Data]) -> ModelConfig | None:
    """Returns the model with its tasks and capabilities only, or None when these are invalid."""
    known = {key: model[key] for key in _TASK_KEYS if key in model}
    try:
        return ModelConfig.model_validate({**known, "context_window": 1, "dimension": 1})
    except ValidationError:
        return None


def _duplicate_ids(data: Data) -> Iterator[Fault]:
    first: dict[str, KeyPath] = {}
    for key_path, provider in _providers(data):
        provider_id = provider.get("id")
        if not isinstance(provider_id, str):
            continue
        if provider_id in first:
            other = format_key_path(first[provider_id])
            yield Fault((*key_path, "id"), f"`{provider_id}` is the id of {other} too: an id must be unique")
        first.setdefault(provider_id, key_path)


def _duplicate_models(entries: list[ModelEntry]) -> Iterator[Fault]:
    first: dict[tuple[KeyPath, str, Task], KeyPath] = {}
    for entry in entries:
        for task in entry.model.configured_tasks if entry.model else ():
            key = (entry.provider_path, entry.model_id, task)
            if key in first:
                other = format_key_path(first[key])
                yield Fault(
                    entry.key_path,
                    f"`{entry.model_id}` has task {task} in {other} already: remove one of them",
                )
            first.setdefault(key, entry.key_path)


def _default_model_faults(document: Document, data: Data, entries: list[ModelEntry]) -> Iterator[Fault]:
    configured = {entry.model_id for entry in entries}
    for name, model_id in _default_model_ids(data):
        if model_id not in configured and _may_be_found(data):
            continue
        problem = _default_problem(name, model_id, entries)
        if problem:
            key_path = ("default_models", name)
            yield Fault(key_path, f"{problem.rule}, {describe_value(document.value_at(key_path))}; {problem.remedy}")


def _default_model_ids(data: Data) -> Iterator[tuple[str, str]]:
    section = data.get("default_models") if isinstance(data, dict) else None
    for name, model_id in section.items() if isinstance(section, dict) else ():
        if name in DefaultModels.model_fields and isinstance(model_id, str):
            yield name, model_id.strip()


def _alias_faults(document: Document, data: Data, entries: list[ModelEntry]) -> Iterator[Fault]:
    """Yields the aliases that have a name of the bridge itself, or that stand for nothing that is configured."""
    section = data.get("aliases") if isinstance(data, dict) else None
    if not isinstance(section, dict):
        return
    known = _model_names(data, entries)
    tasks = {"auto", *DefaultModels.model_fields, *(task.value for task in Task)}
    names = [str(alias).strip() for alias in section]
    for alias, value in section.items():
        key_path: KeyPath = ("aliases", alias)
        if names.count(str(alias).strip()) > 1:
            yield Fault(key_path, f"`{str(alias).strip()}` is there twice: an alias must be unique")
        if str(alias).strip() in _RESERVED_NAMES:
            yield Fault(key_path, f"`{str(alias).strip()}` is a name of the bridge itself: choose another one")
        if "*" in str(alias).strip()[:-1]:
            yield Fault(key_path, "`*` may stand only at the end of an alias")
        targets = value if isinstance(value, list) else [value]
        for index, target in enumerate(targets):
            if not isinstance(target, str) or not target.strip() or target.strip() in known:
                continue
            if target.strip() not in tasks and _may_be_found(data):
                continue
            if len(targets) == 1 and target.strip() in tasks:
                continue
            path = (*key_path, index) if isinstance(value, list) else key_path
            is_alone = len(targets) == 1
            rule = "must name a configured model" + (" or a task" if is_alone else "; a task must stand alone")
            shown = describe_value(document.value_at(path))
            yield Fault(path, f"{rule}, {shown}; {suggest_name(target.strip(), known | tasks if is_alone else known)}")


def _may_be_found(data: Data) -> bool:
    return any(has_auto(provider.get("models")) for _, provider in _providers(data))


def _model_names(data: Data, entries: list[ModelEntry]) -> set[str]:
    """Returns every name of the configured models: the model_id, and `provider/model`."""
    ids = {path: str(provider.get("id")).strip() for path, provider in _providers(data)}
    return {name for entry in entries for name in (entry.model_id, f"{ids[entry.provider_path]}/{entry.model_id}")}


@dataclass(frozen=True, slots=True)
class _Problem:
    rule: str
    remedy: str


def _default_problem(name: str, model_id: str, entries: list[ModelEntry]) -> _Problem | None:
    suitable = {entry.model_id for entry in entries if entry.can_be_default(name)}
    if model_id in suitable:
        return None
    need = {"embedding": "has task embedding", "chat_vision": "takes images"}.get(name, "answers chats")
    if any(entry.model_id == model_id for entry in entries):
        return _Problem(f"must name a model that {need}", list_names(suitable) if suitable else "none is configured")
    hint = suggest_name(model_id, suitable) if suitable else f"none that {need} is configured"
    return _Problem("must name a configured model", hint)


def _list(data: Data, key: str) -> list[Data]:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, list) else []
