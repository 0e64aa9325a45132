"""Adapters to the providers, one folder per wire format, behind one protocol.

Vendors that use OpenAI's format are rows of data in `openai/vendors.py`.
"""

from sekha_llm_bridge.providers.base import BatchLimits, EmbeddingAnswer, EmbeddingCall, Provider
from sekha_llm_bridge.providers.cache_support import CacheSupport, cache_support
from sekha_llm_bridge.providers.calls import ChatCall, PriceCeiling
from sekha_llm_bridge.providers.capabilities import AdapterCapabilities, RequestedFeature, RequestFeature
from sekha_llm_bridge.providers.directory import ProviderDirectory
from sekha_llm_bridge.providers.embedding_batches import embed_in_batches
from sekha_llm_bridge.providers.gateway_fields import gateway_fields, is_gateway_field, refused_fields
from sekha_llm_bridge.providers.registry import (
    UNSUPPORTED_FIELDS,
    capabilities_for,
    capabilities_of,
    make_provider,
)

__all__ = [
    "UNSUPPORTED_FIELDS",
    "AdapterCapabilities",
    "BatchLimits",
    "CacheSupport",
    "ChatCall",
    "EmbeddingAnswer",
    "EmbeddingCall",
    "PriceCeiling",
    "Provider",
    "ProviderDirectory",
    "RequestFeature",
    "RequestedFeature",
    "cache_support",
    "capabilities_for",
    "capabilities_of",
    "embed_in_batches",
    "gateway_fields",
    "is_gateway_field",
    "make_provider",
    "refused_fields",
]
