"""The Sekha LLM Bridge: one OpenAI-compatible API for many language-model providers.

    from sekha_llm_bridge import LlmBridge

    bridge = LlmBridge(base_url="http://127.0.0.1:8000")
    print(bridge.chat("Hello"))

The client is imported when one of its names is used first: every Lambda function imports this package at its start.
"""

TYPE_CHECKING = False  # type checkers treat this name as true; importing `typing` for it would take time
if TYPE_CHECKING:
    from sekha_llm_bridge.client import (
        AccessUnavailable,
        AllProvidersFailed,
        AnswerNotKept,
        AsyncChatStream,
        AsyncLlmBridge,
        AuthenticationFailed,
        BridgeError,
        BridgeTimeout,
        BridgeUnreachable,
        BudgetExceeded,
        ChatReply,
        ChatStream,
        CollectionNotFound,
        ConfigError,
        ConfigUnavailable,
        ConnectionLost,
        ContentRefused,
        ContextLengthExceeded,
        CostLimitExceeded,
        DeadlineExceeded,
        EmbeddingReply,
        EmbeddingSpaceMismatch,
        Entities,
        Health,
        IdempotencyKeyReused,
        InternalError,
        InvalidOption,
        InvalidRequest,
        KeyLimitExceeded,
        LlmBridge,
        Match,
        Model,
        ModelNotFound,
        NoCapableModel,
        NoCapacity,
        NoProviderAvailable,
        NotABridge,
        NotAllowed,
        PayloadTooLarge,
        PermissionDenied,
        PreviousResponseNotFound,
        ProviderFailed,
        ProviderHealth,
        QuotaExceeded,
        RateLimited,
        RequestError,
        RequestUnderWay,
        Route,
        RouteCandidate,
        Score,
        SearchReply,
        StreamInterrupted,
        StreamNotFinished,
        Summary,
        TokenUsage,
        ToolCall,
        Unavailable,
        UnknownPath,
        UnsupportedByModel,
        UnusableAnswer,
        UsageReport,
        UsageSum,
        VectorStoreUnavailable,
        WrongMethod,
        image_message,
    )

__version__ = "2.0.0"

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
    "__version__",
    "image_message",
]

if not TYPE_CHECKING:  # a type checker would accept every name as an attribute

    def __getattr__(name: str) -> object:
        """Returns a name of the client, which is imported now. See PEP 562."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from sekha_llm_bridge import client

        return getattr(client, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
