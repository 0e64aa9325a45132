"""The Python client of the bridge: `LlmBridge`, `AsyncLlmBridge`, their replies and their errors.

    bridge       the two clients; each method is a function of the modules below, wrapped
    chat, vectors, models, memory, usage
                 the calls of each path, and their replies: pure
    messages     texts, messages and images as OpenAI's messages
    streams      streamed answers as iterators; streamed_chat: what their bytes mean, pure
    retries      whether a call is repeated: pure
    transport    sends calls by httpx; imported with it when a client is made
    errors       the tree of errors, and which one an answer means

Importing the client imports no part of the bridge but its errors, and not httpx either.
"""

from sekha_llm_bridge.client.bridge import AsyncLlmBridge, LlmBridge
from sekha_llm_bridge.client.chat import ChatReply, TokenUsage, ToolCall
from sekha_llm_bridge.client.errors import (
    BridgeTimeout,
    BridgeUnreachable,
    ConnectionLost,
    ContentRefused,
    InternalError,
    InvalidOption,
    NoCapacity,
    NotABridge,
    PayloadTooLarge,
    ProviderFailed,
    QuotaExceeded,
    StreamNotFinished,
    UnsupportedByModel,
)
from sekha_llm_bridge.client.memory import Entities, Score, Summary
from sekha_llm_bridge.client.messages import image_message
from sekha_llm_bridge.client.models import Health, Model, ProviderHealth, Route, RouteCandidate
from sekha_llm_bridge.client.streams import AsyncChatStream, ChatStream
from sekha_llm_bridge.client.usage import UsageReport, UsageSum
from sekha_llm_bridge.client.vectors import EmbeddingReply, Match, SearchReply
from sekha_llm_bridge.errors import (
    AccessUnavailable,
    AllProvidersFailed,
    AnswerNotKept,
    AuthenticationFailed,
    BridgeError,
    BudgetExceeded,
    CollectionNotFound,
    ConfigError,
    ConfigUnavailable,
    ContextLengthExceeded,
    CostLimitExceeded,
    DeadlineExceeded,
    EmbeddingSpaceMismatch,
    IdempotencyKeyReused,
    InvalidRequest,
    KeyLimitExceeded,
    ModelNotFound,
    NoCapableModel,
    NoProviderAvailable,
    NotAllowed,
    PermissionDenied,
    PreviousResponseNotFound,
    RateLimited,
    RequestError,
    RequestUnderWay,
    StreamInterrupted,
    Unavailable,
    UnknownPath,
    UnusableAnswer,
    VectorStoreUnavailable,
    WrongMethod,
)

__all__ = [
    "AccessUnavailable",
    "AllProvidersFailed",
    "AnswerNotKept",
    "AsyncChatStream",
    "AsyncLlmBridge",
    "AuthenticationFailed",
    "BridgeError",
    "BridgeTimeout",
    "BridgeUnreachable",
    "BudgetExceeded",
    "ChatReply",
    "ChatStream",
    "CollectionNotFound",
    "ConfigError",
    "ConfigUnavailable",
    "ConnectionLost",
    "ContentRefused",
    "ContextLengthExceeded",
    "CostLimitExceeded",
    "DeadlineExceeded",
    "EmbeddingReply",
    "EmbeddingSpaceMismatch",
    "Entities",
    "Health",
    "IdempotencyKeyReused",
    "InternalError",
    "InvalidOption",
    "InvalidRequest",
    "KeyLimitExceeded",
    "LlmBridge",
    "Match",
    "Model",
    "ModelNotFound",
    "NoCapableModel",
    "NoCapacity",
    "NoProviderAvailable",
    "NotABridge",
    "NotAllowed",
    "PayloadTooLarge",
    "PermissionDenied",
    "PreviousResponseNotFound",
    "ProviderFailed",
    "ProviderHealth",
    "QuotaExceeded",
    "RateLimited",
    "RequestError",
    "RequestUnderWay",
    "Route",
    "RouteCandidate",
    "Score",
    "SearchReply",
    "StreamInterrupted",
    "StreamNotFinished",
    "Summary",
    "TokenUsage",
    "ToolCall",
    "Unavailable",
    "UnknownPath",
    "UnsupportedByModel",
    "UnusableAnswer",
    "UsageReport",
    "UsageSum",
    "VectorStoreUnavailable",
    "WrongMethod",
    "image_message",
]
