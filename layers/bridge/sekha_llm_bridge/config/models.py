"""The shape of `llm_providers.yaml`: what each key is, its range, its default.

The JSON Schema beside the YAML is generated from these models, so a docstring or description here is what an editor
shows. A rule that involves several keys of a section stands on the key it faults, so that no fault hides another.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from sekha_llm_bridge.config.endpoints import check_server_url, complete_base_url, mask_user_info
from sekha_llm_bridge.config.vocabulary import CHAT_TASKS, ProviderType, Task

__all__ = [
    "CHAT_TASKS",
    "ChromaConfig",
    "CircuitBreakerConfig",
    "ConfigFile",
    "DefaultModels",
    "ModelConfig",
    "Pricing",
    "ProviderConfig",
    "ProviderType",
    "RoutingConfig",
    "Section",
    "Task",
    "VisionCapabilities",
]

ID_PATTERN = r"^[a-z0-9_-]+$"
VERSION_PATTERN = r"^2(\.\d+)*$"
COLLECTION_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"
HEADER_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

Usd = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _blank_to_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def null_to_empty(value: object) -> object:
    """A section whose keys are all commented out is null in YAML."""
    return {} if value is None else value


def _check_header_value(secret: SecretStr) -> SecretStr:
    """An HTTP client would refuse it too, but quote it."""
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("holds a line break or another character that an HTTP header cannot carry")
    return secret


Credential = Annotated[SecretStr, AfterValidator(_check_header_value)]
OptionalCredential = Annotated[Credential | None, BeforeValidator(_blank_to_none)]
NullAsEmpty = BeforeValidator(null_to_empty)


class Section(BaseModel):
    """A part of the file: frozen, and an unknown key is an error.

    Text is stripped: `echo KEY | aws …` leaves a line break at the end of a stored key. An error shows no input, which
    may be a key.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), str_strip_whitespace=True, hide_input_in_errors=True
    )


class Pricing(Section):
    """Prices in USD per million tokens, instead of the bridge's own list."""

    input_usd_per_mtok: Usd
    output_usd_per_mtok: Usd | None = Field(None, description="Required for chat models; embeddings have no output.")
    cached_input_usd_per_mtok: Usd | None = Field(None, description="Input tokens that the provider had cached.")
    cache_write_usd_per_mtok: Usd | None = Field(
        None, description="Input tokens that the provider writes to its cache, where it bills these dearer."
    )


class VisionCapabilities(Section):
    """What images a model takes."""

    max_images: int = Field(10, ge=1)
    max_image_size_mb: float = Field(20, gt=0, allow_inf_nan=False)
    supported_formats: tuple[str, ...] = ("jpg", "jpeg", "png", "gif", "webp")


class ModelConfig(Section):
    """One model of a provider."""

    model_id: str = Field(min_length=1, description="The provider's own name of the model.")
    task: Task | None = Field(None, description="What the model is for; or `tasks` for several.")
    tasks: tuple[Task, ...] = Field(
        (), description="What the model is for, when it is more than one thing.", validate_default=True
    )
    context_window: int = Field(gt=0, description="Prompt and answer together, in tokens.")
    max_output_tokens: int | None = Field(None, gt=0, description="The most that one answer may have.")
    dimension: int | None = Field(
        None, gt=0, description="Length of the vectors; required for task embedding.", validate_default=True
    )
    embedding_space: str | None = Field(
        None, min_length=1, description="Models with the same value give interchangeable vectors; default: model_id."
    )
    supports_vision: bool = Field(default=False, description="Whether messages may hold images.")
    supports_audio: bool = False
    supports_function_calling: bool | None = Field(
        None, description="null: not known, so tools are sent on; false: excluded when tools are asked for."
    )
    vision_capabilities: VisionCapabilities | None = None
    pricing: Pricing | None = Field(
        None,
        description="Without it, the price of the bridge's dated list, if that knows the model; Ollama is free. "
        "A model whose price is not known is passed over under a cost limit.",
    )

    @field_validator("tasks")
    @classmethod
    def _require_task_or_tasks(cls, tasks: tuple[Task, ...], info: ValidationInfo) -> tuple[Task, ...]:
        task = info.data.get("task")
        if task and tasks:
            raise ValueError("cannot stand beside `task`: give one of the two")
        if not task and not tasks and "task" in info.data:
            raise ValueError("is missing: give `task`, or `tasks` for several")
        return tasks

    @field_validator("dimension")
    @classmethod
    def _require_dimension_for_embeddings(cls, dimension: int | None, info: ValidationInfo) -> int | None:
        if dimension is None and Task.EMBEDDING in _configured_tasks(info.data):
            raise ValueError("is missing: an embedding model needs the length of its vectors")
        return dimension

    @field_validator("pricing")
    @classmethod
    def _require_output_price_for_chat(cls, pricing: Pricing | None, info: ValidationInfo) -> Pricing | None:
        if pricing and pricing.output_usd_per_mtok is None and not CHAT_TASKS.isdisjoint(_configured_tasks(info.data)):
            raise ValueError("lacks `output_usd_per_mtok`, which a chat model's pricing needs")
        return pricing

    @property
    def configured_tasks(self) -> tuple[Task, ...]:
        """The tasks that the file names, in its order."""
        return _configured_tasks({"task": self.task, "tasks": self.tasks})

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """The tasks, in the file's order; a chat model with vision also serves `vision`."""
        named = self.configured_tasks
        adds_vision = self.supports_vision and Task.VISION not in named and not CHAT_TASKS.isdisjoint(named)
        return (*named, Task.VISION) if adds_vision else named

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


def _configured_tasks(data: dict[str, Any]) -> tuple[Task, ...]:
    return data.get("tasks") or ((data["task"],) if data.get("task") else ())


class ProviderConfig(Section):
    """One provider and its models."""

    id: str = Field(pattern=ID_PATTERN, description="Unique in the file.")
    provider_type: ProviderType = Field(description="The provider's wire format; most vendors speak openai's.")
    base_url: str | None = Field(
        None,
        description="Where the provider is; each type has a default where one is possible.",
        validate_default=True,
        json_schema_extra={"pattern": r"^\s*https?://|\$\{"},
    )
    api_key: OptionalCredential = Field(None, description="A reference such as ${OPENAI_API_KEY}, never the key.")
    priority: int = Field(50, ge=1, le=100, description="Lower is tried first.")
    timeout_secs: Seconds = Field(
        120, description="For a whole buffered answer; for a stream, to the first token and then between chunks."
    )
    headers: Annotated[dict[Annotated[str, Field(pattern=HEADER_PATTERN)], Credential], NullAsEmpty] = Field(
        default_factory=dict, description="Extra headers of every request."
    )
    models: tuple[ModelConfig, ...] = Field(min_length=1)

    @field_validator("base_url")
    @classmethod
    def _complete_base_url(cls, base_url: str | None, info: ValidationInfo) -> str | None:
        """So that the loaded value is always the full one: defaulted and mended."""
        provider_type = info.data.get("provider_type")
        return complete_base_url(provider_type, base_url or None) if provider_type else base_url

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, mask_user_info(value) if name == "base_url" and value else value


class DefaultModels(Section):
    """Which model a name such as `chat_fast` stands for."""

    embedding: str | None = Field(None, description="The model_id of an embedding model.")
    chat_fast: str | None = Field(None, description="The model_id of a chat model; the default of task chat_small.")
    chat_smart: str | None = Field(None, description="The model_id of a chat model.")
    chat_vision: str | None = Field(None, description="The model_id of a model that takes images.")


class CircuitBreakerConfig(Section):
    """When a failing provider is left alone, and when it is taken back."""

    failure_threshold: int = Field(5, ge=1, description="Consecutive failures, over the whole fleet, that open it.")
    timeout_secs: Seconds = Field(60, description="How long it stays open before one probe.")
    success_threshold: int = Field(2, ge=1, description="Successes that close it again.")


class RoutingConfig(Section):
    """How a model is chosen."""

    cost_aware: bool = Field(default=True, description="Among equal priorities, the cheaper first.")
    auto_fallback: bool = Field(default=True, description="Whether the next candidate is tried after a failure.")
    require_vision_for_images: bool = Field(default=True, description="Whether images need a vision model.")
    max_cost_per_request: Usd | None = Field(None, description="USD; null: no limit.")
    min_output_tokens: int = Field(64, ge=1, description="Under a cost limit, the least that is a useful answer.")
    circuit_breaker: Annotated[CircuitBreakerConfig, NullAsEmpty] = CircuitBreakerConfig()


class ChromaConfig(Section):
    """The remote Chroma server."""

    url: str = Field("", description="scheme://host:port; empty: nothing is stored; absent: CHROMA_URL's.")
    tenant: str = Field("default_tenant", min_length=1)
    database: str = Field("default_database", min_length=1)
    auth_token: OptionalCredential = None
    default_collection: str | None = Field(
        "conversations",
        pattern=COLLECTION_PATTERN,
        description="Every embedding is stored here unless the request says otherwise; null: only on request.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_server_url(url) if url else ""


class ConfigFile(Section):
    """The whole file."""

    version: str = Field("2.0", pattern=VERSION_PATTERN, description="Of this format: 2.x.")
    providers: tuple[ProviderConfig, ...] = Field(
        (), min_length=1, description="In the order in which equals are tried. Without any, every request fails."
    )
    default_models: Annotated[DefaultModels, NullAsEmpty] = DefaultModels()
    routing: Annotated[RoutingConfig, NullAsEmpty] = RoutingConfig()
    chroma: Annotated[ChromaConfig, NullAsEmpty] = ChromaConfig()
