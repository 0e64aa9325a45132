"""What must hold between sections: ids are unique, no model stands twice, defaults name models that exist.

They work on the data, not on the validated file, so that they run even when some section has faults of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from sekha_llm_bridge.config.document import Data, Document
from sekha_llm_bridge.config.faults import Fault, Place, did_you_mean, listed, place_text, shown
from sekha_llm_bridge.config.models import DefaultModels, ModelConfig, Task

_PURPOSE = ("model_id", "task", "tasks", "supports_vision")


@dataclass(frozen=True, slots=True)
class Offer:
    """One model of one provider. `model` tells its purpose only; None when faults or gaps leave that unknown."""

    place: Place
    model_id: str
    model: ModelConfig | None

    @property
    def provider_place(self) -> Place:
        """The provider that offers it."""
        return self.place[:2]

    def may_be(self, default: str) -> bool:
        """Whether it can be the default model called `default`; true when that is not known."""
        if self.model is None:
            return True
        if default == "embedding":
            return self.model.serves(Task.EMBEDDING)
        return self.model.has_vision if default == "chat_vision" else self.model.is_chat


def check(document: Document, data: Data, unknown: frozenset[Place]) -> Iterator[Fault]:
    """The faults of `data` between its sections; `unknown` are the models whose tasks have no value."""
    offers = list(_offers(data, unknown))
    yield from _repeated_ids(data)
    yield from _repeated_models(offers)
    yield from _defaults(document, data, offers)


def _providers(data: Data) -> Iterator[tuple[Place, dict[str, Data]]]:
    for index, provider in enumerate(_list(data, "providers")):
        if isinstance(provider, dict):
            yield ("providers", index), provider


def _offers(data: Data, unknown: frozenset[Place]) -> Iterator[Offer]:
    for place, provider in _providers(data):
        for index, model in enumerate(_list(provider, "models")):
            if isinstance(model, dict) and isinstance(model_id := model.get("model_id"), str):
                at = (*place, "models", index)
                yield Offer(at, model_id.strip(), None if at in unknown else _purpose(model))


def _purpose(model: dict[str, Data]) -> ModelConfig | None:
    """What a model is for, whatever is wrong with the rest of its section."""
    known = {key: model[key] for key in _PURPOSE if key in model}
    try:
        return ModelConfig.model_validate({**known, "context_window": 1, "dimension": 1})
    except ValidationError:
        return None


def _repeated_ids(data: Data) -> Iterator[Fault]:
    first: dict[str, Place] = {}
    for place, provider in _providers(data):
        provider_id = provider.get("id")
        if not isinstance(provider_id, str):
            continue
        if provider_id in first:
            other = place_text(first[provider_id])
            yield Fault((*place, "id"), f"`{provider_id}` is the id of {other} too: an id must be unique")
        first.setdefault(provider_id, place)


def _repeated_models(offers: list[Offer]) -> Iterator[Fault]:
    first: dict[tuple[Place, str, Task], Place] = {}
    for offer in offers:
        for task in offer.model.named_tasks if offer.model else ():
            key = (offer.provider_place, offer.model_id, task)
            if key in first:
                other = place_text(first[key])
                yield Fault(offer.place, f"`{offer.model_id}` has task {task} in {other} already: remove one of them")
            first.setdefault(key, offer.place)


def _defaults(document: Document, data: Data, offers: list[Offer]) -> Iterator[Fault]:
    for name, model_id in _named_defaults(data):
        problem = _default_problem(name, model_id, offers)
        if problem:
            place = ("default_models", name)
            yield Fault(place, f"{problem.rule}, {shown(document.value_at(place))}; {problem.remedy}")


def _named_defaults(data: Data) -> Iterator[tuple[str, str]]:
    section = data.get("default_models") if isinstance(data, dict) else None
    for name, model_id in section.items() if isinstance(section, dict) else ():
        if name in DefaultModels.model_fields and isinstance(model_id, str):
            yield name, model_id.strip()


@dataclass(frozen=True, slots=True)
class _Problem:
    rule: str
    remedy: str


def _default_problem(name: str, model_id: str, offers: list[Offer]) -> _Problem | None:
    fitting = {offer.model_id for offer in offers if offer.may_be(name)}
    if model_id in fitting:
        return None
    need = {"embedding": "has task embedding", "chat_vision": "takes images"}.get(name, "answers chats")
    if any(offer.model_id == model_id for offer in offers):
        return _Problem(f"must name a model that {need}", listed(fitting) if fitting else "none is configured")
    hint = did_you_mean(model_id, fitting) if fitting else f"none that {need} is configured"
    return _Problem("must name a configured model", hint)


def _list(data: Data, key: str) -> list[Data]:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, list) else []
