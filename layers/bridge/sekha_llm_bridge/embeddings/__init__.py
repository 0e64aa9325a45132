"""Vectors kept in Chroma: one collection for each name and dimension, and never two embedding spaces in one."""

from sekha_llm_bridge.embeddings.archive import Archive
from sekha_llm_bridge.embeddings.records import Batch, StoreReport, VectorRecord, collection_name, content_id
from sekha_llm_bridge.embeddings.store import SpaceMismatch, StoreFailed, VectorStore

__all__ = [
    "Archive",
    "Batch",
    "SpaceMismatch",
    "StoreFailed",
    "StoreReport",
    "VectorRecord",
    "VectorStore",
    "collection_name",
    "content_id",
]
