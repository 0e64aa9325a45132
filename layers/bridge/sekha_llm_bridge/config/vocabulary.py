"""The provider types and the tasks of models."""

from enum import StrEnum


class ProviderType(StrEnum):
    """The wire format and conventions of a provider."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OPENROUTER = "openrouter"
    BEDROCK = "bedrock"
    AZURE_OPENAI = "azure_openai"
    GEMINI = "gemini"
    LITELLM = "litellm"


class Task(StrEnum):
    """What a model is for."""

    CHAT_SMALL = "chat_small"
    CHAT_LARGE = "chat_large"
    CHAT_SMART = "chat_smart"
    VISION = "vision"
    EMBEDDING = "embedding"
    AUDIO = "audio"
    IMAGE_GENERATION = "image_generation"


class UnknownFields(StrEnum):
    """What happens to a request with fields that the bridge does not know."""

    PASS = "pass"  # noqa: S105 — not a password
    REFUSE = "refuse"


class NamedModels(StrEnum):
    """Whether a request that names a model may be answered by another one."""

    PINNED = "pinned"
    PREFERRED = "preferred"


class PromptCache(StrEnum):
    """Whether the bridge marks prompts for the caches of providers that need a mark."""

    OFF = "off"
    AUTO = "auto"


CHAT_TASKS = frozenset({Task.CHAT_SMALL, Task.CHAT_LARGE, Task.CHAT_SMART, Task.VISION})
