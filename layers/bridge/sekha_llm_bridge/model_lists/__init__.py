"""The lists of models that providers with `models: auto` have: kept in the state table, and known to every instance."""

from sekha_llm_bridge.model_lists.lists import ModelLists
from sekha_llm_bridge.model_lists.store import (
    MAX_MODELS,
    ListsUnavailable,
    MemoryModelListStore,
    ModelList,
    ModelListStore,
)

__all__ = ["MAX_MODELS", "ListsUnavailable", "MemoryModelListStore", "ModelList", "ModelListStore", "ModelLists"]
