"""The shape of `llm_providers.yaml`: what each key is, its range, its default.

The JSON Schema beside the YAML is generated from these models, so a docstring or description here is what an editor shows.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Usd = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


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


CHAT_TASKS = frozenset({Task.CHAT_SMALL, Task.CHAT_LARGE, Task.CHAT_SMART, Task.VISION})


class Section(BaseModel):
    """A part of the file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Pricing(Section):
    """Prices in USD per million tokens; they override the price book."""

    input_usd_per_mtok: Usd
    output_usd_per_mtok: Usd | None = Field(None, description="Required for chat models; embeddings have no output tokens.")
    cached_input_usd_per_mtok: Usd | None = None


class VisionCapabilities(Section):
    """What images a model takes."""

    max_images: int = Field(10, ge=1)
    max_image_size_mb: float = Field(20, gt=0)
    supported_formats: tuple[str, ...] = ("jpg", "jpeg", "png", "gif", "webp")


class ModelConfig(Section):
    """One model of a provider."""

    model_id: str = Field(min_length=1, description="The provider's own name of the model.")
    task: Task | None = Field(None, description="What the model is for; or `tasks` for several.")
    tasks: tuple[Task, ...] = Field((), description="What the model is for, when it is more than one thing.")
    context_window: int = Field(gt=0, description="Prompt and answer together, in tokens.")
    max_output_tokens: int | None = Field(None, gt=0)
    dimension: int | None = Field(None, gt=0, description="Length of the vectors; required for task embedding.")
    embedding_space: str | None = Field(
        None, min_length=1, description="Models with the same value give interchangeable vectors. Default: the model_id."
    )
    supports_vision: bool = False
    supports_audio: bool = False
    supports_function_calling: bool | None = Field(
        None, description="null: not known, so tools are sent on; false: excluded when tools are asked for."
    )
    vision_capabilities: VisionCapabilities | None = None
    pricing: Pricing | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.task) == bool(self.tasks):
            raise ValueError("give either `task` or `tasks`")
        if self.serves(Task.EMBEDDING) and self.dimension is None:
            raise ValueError("an embedding model needs its `dimension`")
        if self.pricing and self.pricing.output_usd_per_mtok is None and self.is_chat:
            raise ValueError("a chat model's pricing needs `output_usd_per_mtok`")
        return self

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """The tasks, in the file's order; a chat model with vision also serves `vision`."""
        named = self.tasks or ((self.task,) if self.task else ())
        sees = self.supports_vision and Task.VISION not in named and not CHAT_TASKS.isdisjoint(named)
        return (*named, Task.VISION) if sees else named

    def serves(self, task: Task) -> bool:
        """Whether the model is for `task`."""
        return task in self.all_tasks

    @property
    def is_chat(self) -> bool:
        """Whether it answers messages."""
        return not CHAT_TASKS.isdisjoint(self.all_tasks)

    @property
    def has_vision(self) -> bool:
        """Whether it takes images."""
        return self.serves(Task.VISION)

    @property
    def space(self) -> str:
        """The embedding space of its vectors."""
        return self.embedding_space or self.model_id


class ProviderConfig(Section):
    """One provider and its models."""

    id: str = Field(pattern=r"^[a-z0-9_-]+$", description="Unique in the file.")
    provider_type: ProviderType
    base_url: str | None = Field(
        None, pattern=r"^https?://[^/\s]+", description="Where the provider is; each type has a default where one is possible."
    )
    api_key: SecretStr | None = None
    priority: int = Field(50, ge=1, le=100, description="Lower is tried first.")
    timeout_secs: float = Field(
        120, gt=0, description="For a whole buffered answer; for a stream, to the first token and then between chunks."
    )
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="Extra headers of every request.")
    models: tuple[ModelConfig, ...] = Field(min_length=1)


class DefaultModels(Section):
    """Which model a name such as `chat_fast` stands for."""

    embedding: str | None = None
    chat_fast: str | None = None
    chat_smart: str | None = None
    chat_vision: str | None = None


class CircuitBreakerConfig(Section):
    """When a failing provider is left alone, and when it is taken back."""

    failure_threshold: int = Field(5, ge=1, description="Consecutive failures, over the whole fleet, that open it.")
    timeout_secs: float = Field(60, gt=0, description="How long it stays open before one probe.")
    success_threshold: int = Field(2, ge=1, description="Successes that close it again.")


class RoutingConfig(Section):
    """How a model is chosen."""

    cost_aware: bool = Field(default=True, description="Among equal priorities, the cheaper first.")
    auto_fallback: bool = Field(default=True, description="Whether the next candidate is tried after a failure.")
    require_vision_for_images: bool = True
    max_cost_per_request: Usd | None = Field(None, description="USD; null: no limit.")
    min_output_tokens: int = Field(64, ge=1, description="Under a cost limit, the least that counts as a useful answer.")
    circuit_breaker: CircuitBreakerConfig = CircuitBreakerConfig()


class ChromaConfig(Section):
    """The remote Chroma server."""

    url: str = Field("", description="scheme://host:port; empty: nothing is stored.")
    tenant: str = "default_tenant"
    database: str = "default_database"
    auth_token: SecretStr | None = None
    default_collection: str | None = Field(
        "conversations", description="Every embedding is stored here unless the request says otherwise; null: only on request."
    )


class ConfigFile(Section):
    """The whole file, references resolved."""

    version: str = "2.0"
    providers: tuple[ProviderConfig, ...] = Field(min_length=1)
    default_models: DefaultModels = DefaultModels()
    routing: RoutingConfig = RoutingConfig()
    chroma: ChromaConfig = ChromaConfig()
