"""Adapters to the providers, one folder per wire format, behind one protocol.

Vendors that use OpenAI's format are rows of data in `openai/vendors.py`.
"""

from sekha_llm_bridge.providers.base import (
    AnswerState,
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
    "AnswerState",
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
