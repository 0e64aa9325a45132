"""References to models, in the order in which a request wants them."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sekha_llm_bridge.routing.catalog import CatalogModel


class ModelRef(NamedTuple):
    """A model by its id, at every provider that has it, or at one provider only."""

    model_id: str
    provider_id: str | None = None

    def __str__(self) -> str:
        """The name as a request may write it."""
        return self.model_id if self.provider_id is None else f"{self.provider_id}/{self.model_id}"

    def matches(self, entry: CatalogModel) -> bool:
        """Returns whether the reference means this model of this provider."""
        return entry.model_id == self.model_id and self.provider_id in {None, entry.provider.id}


def names_of(refs: Collection[ModelRef]) -> str:
    """Returns the references as text: `the model a`, `the models a, b`."""
    return f"the model{'s' if len(refs) > 1 else ''} {', '.join(map(str, refs))}"


def place_in(refs: Sequence[ModelRef]) -> Callable[[CatalogModel], int]:
    """Returns a function of a model's place in `refs`; `len(refs)` for a model that is not among them."""
    last = len(refs)
    if last == 1 and refs[0].provider_id is None:
        model_id = refs[0].model_id
        return lambda entry: entry.model_id != model_id
    places = {ref: place for place, ref in reversed(list(enumerate(refs)))}

    def place(entry: CatalogModel) -> int:
        anywhere = places.get(ModelRef(entry.model_id), last)
        return min(anywhere, places.get(ModelRef(entry.model_id, entry.provider.id), last))

    return place
