"""Adapters: one per wire format, behind one protocol; vendors that speak OpenAI's format are rows of data."""

from sekha_llm_bridge.providers.base import (
    BatchLimits,
    ChatAnswer,
    ChatCall,
    ChatChunk,
    EmbeddingAnswer,
    EmbeddingCall,
    PriceCeiling,
    Provider,
    has_content,
)
from sekha_llm_bridge.providers.directory import ProviderDirectory
from sekha_llm_bridge.providers.embedding_batches import embed_in_batches
from sekha_llm_bridge.providers.registry import has_adapter, make_provider, takes_image_urls

__all__ = [
    "BatchLimits",
    "ChatAnswer",
    "ChatCall",
    "ChatChunk",
    "EmbeddingAnswer",
    "EmbeddingCall",
    "PriceCeiling",
    "Provider",
    "ProviderDirectory",
    "embed_in_batches",
    "has_adapter",
    "has_content",
    "make_provider",
    "takes_image_urls",
]
