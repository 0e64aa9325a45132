"""Vectors stored in Chroma: one collection for each name and dimension, with vectors of one embedding space only."""

from sekha_llm_bridge.embeddings.records import (
    Batch,
    Database,
    Match,
    StoreReport,
    VectorRecord,
    collection_name,
    content_id,
)
from sekha_llm_bridge.embeddings.storage import EmbeddingStorage
from sekha_llm_bridge.embeddings.store import (
    CollectionMissing,
    QuotaExceeded,
    SpaceMismatch,
    StoreDown,
    StoreFailed,
    StoreRefused,
    VectorStore,
)

__all__ = [
    "Batch",
    "CollectionMissing",
    "Database",
    "EmbeddingStorage",
    "Match",
    "QuotaExceeded",
    "SpaceMismatch",
    "StoreDown",
    "StoreFailed",
    "StoreRefused",
    "StoreReport",
    "VectorRecord",
    "VectorStore",
    "collection_name",
    "content_id",
]
