"""The interface of the stores of lists of models, and a store in memory."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.found_models import FoundModel

MAX_MODELS = 500
"""The most models of one list: a model takes some 400 bytes, and an item of DynamoDB has at most 400 kB."""


class ModelList(NamedTuple):
    """The models of one provider, in the order of their names.

    `revision` grows by 1 with each write, from 1. `written_at` is the time of the last one.
    """

    models: tuple[FoundModel, ...]
    revision: int
    written_at: datetime


class ModelListStore(Protocol):
    """The lists of all providers. Every method raises `ListsUnavailable`."""

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ModelList]:
        """Returns the lists that exist, read consistently."""
        ...

    async def replace(self, provider_id: str, before: ModelList | None, models: Sequence[FoundModel]) -> bool:
        """Stores the models if the stored list is `before`. Returns whether it did: another check may have been
        first.
        """
        ...


class ListsUnavailable(Exception):
    """The store did not answer. The message has only the kind of failure."""


class MemoryModelListStore:
    """A `ModelListStore` in this process, for tests and for functions without a table."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lists: dict[str, ModelList] = {}

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ModelList]:
        """See `ModelListStore.read`."""
        return {provider_id: self._lists[provider_id] for provider_id in provider_ids if provider_id in self._lists}

    async def replace(self, provider_id: str, before: ModelList | None, models: Sequence[FoundModel]) -> bool:
        """See `ModelListStore.replace`."""
        revision = 0 if before is None else before.revision
        stored = self._lists.get(provider_id)
        if revision != (0 if stored is None else stored.revision):
            return False
        self._lists[provider_id] = ModelList(tuple(models), revision + 1, self._clock.now())
        return True
