"""The models of `llm_providers.yaml`: the meaning, range and default of each key.

The JSON Schema is generated from these models, so editors show their docstrings and descriptions. A rule that involves
several keys is a validator of the key that it reports: a validator of the model would run only if all keys are valid.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sekha_llm_bridge.config.endpoints import check_server_url, complete_base_url, mask_user_info
from sekha_llm_bridge.config.vocabulary import CHAT_TASKS, NamedModels, PromptCache, ProviderType, Task, UnknownFields

__all__ = [
    "CHAT_TASKS",
    "ChromaConfig",
    "CircuitBreakerConfig",
    "ConfigFile",
    "DefaultModels",
    "ModelConfig",
    "NamedModels",
    "OperationPaths",
    "Pricing",
    "PromptCache",
    "ProviderConfig",
    "ProviderType",
    "RoutingConfig",
    "Section",
    "Task",
    "UnknownFields",
    "VisionCapabilities",
]

ID_PATTERN = r"^[a-z0-9_-]+$"
VERSION_PATTERN = r"^2(\.\d+)*$"
COLLECTION_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"
CHROMA_NAME_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]$"
"""What Chroma 1.5 accepts as the name of a database. Of a tenant's name it accepts more, which URLs may distort."""
HEADER_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
PATH_PATTERN = r"^/[^?#\s]*$"
REGION_PATTERN = r"^[a-z]{2,}(-[a-z]+)+-\d+$"
GUARDRAIL_PATTERN = r"^([a-z0-9]+|arn:[a-z0-9-]+:bedrock:[a-z0-9-]+:\d{12}:guardrail/[a-z0-9]+)$"
GUARDRAIL_VERSION_PATTERN = r"^([1-9]\d{0,7}|DRAFT)$"

Usd = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _blank_to_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def null_to_empty(value: object) -> object:
    """Replaces null by an empty section, because YAML has null where all keys of a section are commented out."""
    return {} if value is None else value


def _check_header_value(secret: SecretStr) -> SecretStr:
    """Rejects a value that an HTTP header cannot contain. The HTTP client would quote it in its error message."""
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("contains a line break or another character that an HTTP header cannot contain")
    return secret


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("contains a control character or an invisible one: write it with visible characters only")
    return text


def _one_or_more_names(value: object) -> object:
    """Makes a list of a single name; an empty one of none, so that it has one fault only."""
    if not isinstance(value, str):
        return value
    return (value,) if value.strip() else ()


Name = Annotated[str, Field(min_length=1), AfterValidator(_check_printable)]
AliasTargets = Annotated[
    tuple[Name, ...],
    Field(min_length=1),
    BeforeValidator(
        _one_or_more_names,
        json_schema_input_type=Name | Annotated[Sequence[Name], Field(min_length=1)],
    ),
]
OptionalPath = Annotated[Annotated[str, Field(pattern=PATH_PATTERN)] | None, BeforeValidator(_blank_to_none)]
Credential = Annotated[SecretStr, AfterValidator(_check_header_value)]
OptionalCredential = Annotated[Credential | None, BeforeValidator(_blank_to_none)]
NullAsEmpty = BeforeValidator(null_to_empty)


class Section(BaseModel):
    """A part of the file. It is frozen, and an unknown key is an error.

    Text is stripped, because `echo KEY | aws …` stores a line break after the key. Errors do not show the input, which
    may be an API key.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), str_strip_whitespace=True, hide_input_in_errors=True
    )


class Pricing(Section):
    """Prices in USD per million tokens, instead of the bridge's own list."""

    input_usd_per_mtok: Usd = Field(description="Input tokens that are neither read from a cache nor written to it.")
    output_usd_per_mtok: Usd | None = Field(None, description="Required for chat models; embeddings have no output.")
    cached_input_usd_per_mtok: Usd | None = Field(None, description="Input tokens that the provider had cached.")
    cache_write_usd_per_mtok: Usd | None = Field(
        None, description="Input tokens that the provider writes to its cache, if it bills these at a higher price."
    )
    hour_cache_write_usd_per_mtok: Usd | None = Field(
        None,
        description="Input tokens that the provider keeps in its cache for an hour. Default for Claude's models: twice"
        " the price of the input; for others it is not known, so under a cost limit they get no request that asks"
        " for it.",
    )


class VisionCapabilities(Section):
    """The images that a model accepts."""

    max_images: int = Field(10, ge=1, description="Images in one request.")
    max_image_size_mb: float = Field(20, gt=0, allow_inf_nan=False, description="Size of one image, in megabytes.")
    supported_formats: tuple[str, ...] = Field(
        ("jpg", "jpeg", "png", "gif", "webp"), description="The formats of images that the model accepts."
    )


class ModelConfig(Section):
    """One model of a provider."""

    model_id: Name = Field(description="The provider's own name of the model.")
    task: Task | None = Field(None, description="What the model is for; or `tasks` for several.")
    tasks: tuple[Task, ...] = Field(
        (), description="What the model is for, when it is more than one thing.", validate_default=True
    )
    context_window: int = Field(gt=0, description="Prompt and answer together, in tokens.")
    max_output_tokens: int | None = Field(None, gt=0, description="The maximum number of tokens in one answer.")
    dimension: int | None = Field(
        None, gt=0, description="Length of the vectors; required for task embedding.", validate_default=True
    )
    embedding_space: Name | None = Field(
        None, description="Models with the same value produce compatible vectors; default: model_id."
    )
    supports_vision: bool = Field(default=False, description="Whether messages may contain images.")
    supports_audio: bool = Field(default=False, description="Whether messages may contain recordings.")
    supports_function_calling: bool | None = Field(
        None, description="null: not known, so tools are sent; false: the model is not used for requests with tools."
    )
    vision_capabilities: VisionCapabilities | None = None
    pricing: Pricing | None = Field(
        None,
        description="Default: the price in the bridge's dated list, if the model is in it; Ollama is free. "
        "A model whose price is not known is not used when there is a cost limit.",
    )

    @field_validator("tasks")
    @classmethod
    def _require_task_or_tasks(cls, tasks: tuple[Task, ...], info: ValidationInfo) -> tuple[Task, ...]:
        task = info.data.get("task")
        if task and tasks:
            raise ValueError("cannot be combined with `task`: give one of the two")
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
        """The tasks in the file, in its order."""
        return _configured_tasks({"task": self.task, "tasks": self.tasks})

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """The tasks in the file's order, and `vision` for a chat model with `supports_vision`."""
        tasks = self.configured_tasks
        adds_vision = self.supports_vision and Task.VISION not in tasks and not CHAT_TASKS.isdisjoint(tasks)
        return (*tasks, Task.VISION) if adds_vision else tasks

    def serves(self, task: Task) -> bool:
        """Returns whether the model can be used for `task`."""
        return task in self.all_tasks

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat task."""
        return not CHAT_TASKS.isdisjoint(self.all_tasks)

    @property
    def has_vision(self) -> bool:
        """Whether the model accepts images."""
        return self.serves(Task.VISION)

    @property
    def space(self) -> str:
        """The embedding space of its vectors."""
        return self.embedding_space or self.model_id


def _configured_tasks(data: dict[str, Any]) -> tuple[Task, ...]:
    return data.get("tasks") or ((data["task"],) if data.get("task") else ())


class OperationPaths(Section):
    """Complete paths of a server with unusual ones, from its root; each replaces the path of `base_url`."""

    chat: OptionalPath = Field(None, description="Default: chat/completions below base_url; for Ollama api/chat.")
    embeddings: OptionalPath = Field(None, description="Default: embeddings below base_url; for Ollama api/embed.")
    models: OptionalPath = Field(
        None, description="What the health check asks for. Default: models below base_url; for Ollama api/tags."
    )


AUTO = "auto"
"""What `models` has instead of models, or beside them, where a provider lists by itself which ones it has."""

_AUTO_MODEL = ModelConfig(model_id=AUTO, task=Task.CHAT_SMALL, context_window=1)  # keeps the places of the others


def _mark_auto(value: object, info: ValidationInfo) -> object:
    """Puts a placeholder in the place of `auto`. Raises `ValueError` where the provider cannot list its models."""
    if not has_auto(value):
        return value
    if (provider_type := info.data.get("provider_type")) not in {ProviderType.OLLAMA, None}:
        raise ValueError(
            f"`auto` is only for provider_type ollama: name the models of {provider_type}, each with model_id, task and"
            " context_window"
        )
    values = value if isinstance(value, list | tuple) else [value]
    return [_AUTO_MODEL if has_auto(one) else one for one in values]


def _without_auto(models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
    return tuple(model for model in models if model is not _AUTO_MODEL)


def has_auto(models: object) -> bool:
    """Returns whether a value of `models`, as it is written in the file, is `auto` or has it as an entry."""
    if isinstance(models, list | tuple):
        return any(isinstance(one, str) and has_auto(one) for one in models)
    return isinstance(models, str) and models.strip() == AUTO


class ProviderConfig(Section):
    """One provider and its models."""

    id: str = Field(pattern=ID_PATTERN, description="Unique in the file.")
    provider_type: ProviderType = Field(description="The provider's wire format; most vendors use `openai`.")
    base_url: str | None = Field(
        None,
        description="The URL of the provider's API; most types have a default. A missing version (/v1) is added. Give"
        " the complete URL of the chat, ending in /chat/completions, if the server has no version in its paths.",
        validate_default=True,
        json_schema_extra={"pattern": r"^\s*https?://|\$\{"},
    )
    paths: Annotated[OperationPaths, NullAsEmpty] = Field(
        OperationPaths(), description="Complete paths of operations that are not below base_url."
    )
    query: Annotated[dict[Annotated[str, Field(min_length=1)], Credential], NullAsEmpty] = Field(
        default_factory=dict, description="Parameters of the URL of every request, such as api-version of Azure."
    )
    api_key: OptionalCredential = Field(None, description="A reference such as ${OPENAI_API_KEY}, never the key.")
    priority: int = Field(50, ge=1, le=100, description="Lower is tried first.")
    timeout_secs: Seconds = Field(
        120, description="For a whole buffered answer; for a stream, to the first token and then between chunks."
    )
    headers: Annotated[dict[Annotated[str, Field(pattern=HEADER_PATTERN)], Credential], NullAsEmpty] = Field(
        default_factory=dict, description="Extra headers of every request."
    )
    allow_fields: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Fields of a request that are passed on to this provider although they name other models, plugins,"
        " addresses or keys, which this provider's key then pays for, such as plugins or extra_body.models.",
    )
    prompt_cache: PromptCache | None = Field(
        None,
        description="Whether the bridge marks the beginning of a prompt for this provider's cache. Default: that of"
        " routing.prompt_cache.",
    )
    trust_token_counts: bool | None = Field(
        None,
        description="Whether a cost limit may rely on this server's own count of a prompt's tokens (Anthropic's format"
        " and Bedrock). Default: only for the addresses of Anthropic and AWS; a proxy's count may be an estimate.",
    )
    region: str | None = Field(
        None,
        pattern=REGION_PATTERN,
        description="Bedrock only: the AWS region. Default: that of base_url, else the region of the functions.",
    )
    guardrail_id: str | None = Field(
        None, pattern=GUARDRAIL_PATTERN, description="Bedrock only: the id or ARN of the guardrail of every chat."
    )
    guardrail_version: str | None = Field(
        None,
        pattern=GUARDRAIL_VERSION_PATTERN,
        description="Bedrock only: the version of the guardrail, a number or DRAFT; required with guardrail_id.",
        validate_default=True,
    )
    models: Annotated[
        tuple[ModelConfig, ...],
        Field(min_length=1),
        BeforeValidator(_mark_auto),
        AfterValidator(_without_auto),
    ] = Field(
        description="The models that the bridge may use. For an Ollama also auto: those that have been pulled there,"
        " found by the scheduled check; entries beside auto say how such a model is used while it is there."
    )
    _lists_models: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _note_auto(cls, data: object, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Keeps whether `models` has `auto`, which the validated models do not show."""
        provider = validate(data)
        if isinstance(data, dict):
            provider._lists_models = has_auto(data.get("models"))  # noqa: SLF001 — of this class
        return provider

    @property
    def lists_models(self) -> bool:
        """Whether the provider says by itself which models it has (`models: auto`)."""
        return self._lists_models

    @field_validator("region", "guardrail_id", "guardrail_version")
    @classmethod
    def _allow_for_bedrock_only(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("provider_type") not in {ProviderType.BEDROCK, None}:
            raise ValueError("is only for provider_type bedrock")
        return value

    @field_validator("guardrail_version")
    @classmethod
    def _require_guardrail_version(cls, version: str | None, info: ValidationInfo) -> str | None:
        if (info.data.get("guardrail_id") is None) != (version is None) and "guardrail_id" in info.data:
            missing = "is missing: give the version of the guardrail, or DRAFT"
            raise ValueError("needs `guardrail_id`" if version else missing)
        return version

    @field_validator("base_url")
    @classmethod
    def _complete_base_url(cls, base_url: str | None, info: ValidationInfo) -> str | None:
        """Applies the default and normalises the URL, so that the loaded value is complete."""
        provider_type = info.data.get("provider_type")
        return complete_base_url(provider_type, base_url or None) if provider_type else base_url

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if name == "models" and self.lists_models:
                yield name, (AUTO, *value)
            elif name != "_lists_models":
                yield name, mask_user_info(value) if name == "base_url" and value else value


class DefaultModels(Section):
    """The models for names such as `chat_fast`."""

    embedding: str | None = Field(None, description="The model_id of an embedding model.")
    chat_fast: str | None = Field(None, description="The model_id of a chat model; the default of task chat_small.")
    chat_smart: str | None = Field(None, description="The model_id of a chat model.")
    chat_vision: str | None = Field(None, description="The model_id of a model that accepts images.")


class CircuitBreakerConfig(Section):
    """When the circuit breaker of a failing provider opens and closes."""

    failure_threshold: int = Field(
        5, ge=1, description="Consecutive failures that open it, counted over all function instances."
    )
    timeout_secs: Seconds = Field(60, description="How long it stays open before one probe.")
    success_threshold: int = Field(2, ge=1, description="Successful probes that close it.")


class BudgetConfig(Section):
    """What all requests of the bridge together may cost. Free models can be used when it is spent."""

    daily_usd: Usd | None = Field(None, description="USD for each day (UTC); null: no limit.")
    monthly_usd: Usd | None = Field(None, description="USD for each month (UTC); null: no limit.")
    fail_open: bool = Field(
        default=False,
        description="Whether paid requests go on, uncounted, when the table of the budgets does not answer; also for"
        " the budgets of API keys.",
    )


class RoutingConfig(Section):
    """How a model is chosen."""

    cost_aware: bool = Field(default=True, description="Among equal priorities, the cheaper model is tried first.")
    auto_fallback: bool = Field(default=True, description="Whether the next candidate is tried after a failure.")
    require_vision_for_images: bool = Field(default=True, description="Whether images require a vision model.")
    max_cost_per_request: Usd | None = Field(
        Decimal("1.00"),
        description="The maximum cost of one request in USD, with failed attempts; null: no limit. Where the file does"
        " not have this key, the default limits by estimates, and only what has a known price.",
    )
    max_output_tokens: int | None = Field(
        None,
        ge=1,
        description="The maximum of output tokens for one answer, of every model; a request that asks for more gets a"
        " note. null: no limit.",
    )
    max_n: int | None = Field(
        None,
        ge=1,
        description="The maximum of answers that one request may ask for (`n`); more are a 400. null: no limit.",
    )
    min_output_tokens: int = Field(
        64, ge=1, description="The minimum tokens of a useful answer; a cost limit must allow them."
    )
    unknown_fields: UnknownFields = Field(
        UnknownFields.PASS,
        description="pass: fields of a request that the bridge does not know are sent to the provider, with a note that"
        " a cost limit does not cover what they may cost (under one, a request of Anthropic's format has none of them);"
        " refuse: such a request is rejected with a 400.",
    )
    prompt_cache: PromptCache = Field(
        PromptCache.OFF,
        description="auto: for a model of Claude, a request without cache marks gets one after its tools and system"
        " messages, if these are long enough for the model to cache; off: it gets none. Writing to the cache costs a"
        " quarter more than the input, reading a tenth of it or less.",
    )
    named_models: NamedModels = Field(
        NamedModels.PINNED,
        description="pinned: only the model that a request names may answer it; preferred: it is tried first, and"
        " others follow if it fails or is not suitable. For embeddings, others only of the same embedding space.",
    )
    budget: Annotated[BudgetConfig, NullAsEmpty] = Field(
        BudgetConfig(), description="What all requests together may cost in a day and in a month."
    )
    circuit_breaker: Annotated[CircuitBreakerConfig, NullAsEmpty] = CircuitBreakerConfig()

    @property
    def configured_max_cost_usd(self) -> Decimal | None:
        """The cost limit that the file sets; None where it sets none, or null."""
        return self.max_cost_per_request if self.sets_cost_limit else None

    @property
    def default_max_cost_usd(self) -> Decimal | None:
        """The cost limit that applies because the file does not mention one."""
        return None if self.sets_cost_limit else self.max_cost_per_request

    @property
    def sets_cost_limit(self) -> bool:
        """Whether the file has the key `max_cost_per_request`, with a number or null."""
        return "max_cost_per_request" in self.model_fields_set


class ChromaConfig(Section):
    """The remote Chroma server."""

    url: str = Field("", description="scheme://host:port; empty: nothing is stored; absent: the value of CHROMA_URL.")
    tenant: str = Field("default_tenant", min_length=1, description="The tenant of the Chroma server.")
    database: str = Field("default_database", min_length=1, description="The database of the tenant.")
    separate_by_key: bool = Field(
        default=False,
        description="true: each API key has a database of its own, with the key's id as its name, unless the key names"
        " one; it is created when the key first stores. false: keys that name none share the configured database.",
    )
    auth_token: OptionalCredential = Field(None, description="The token of the server, if it requires one.")
    default_collection: str | None = Field(
        "conversations",
        pattern=COLLECTION_PATTERN,
        description="Embeddings are stored here unless the request names a collection; null: only on request.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_server_url(url) if url else ""


class HealthConfig(Section):
    """How the health of v1's path is answered."""

    redirect: bool = Field(
        default=True,
        description="Whether `GET /health` redirects to /api/v1/health; false: it answers by itself, for callers that"
        " take a redirect as a failure, such as sekha-proxy 0.2.",
    )


class ConfigFile(Section):
    """The whole file."""

    version: str = Field("2.0", pattern=VERSION_PATTERN, description="The version of this format: 2.x.")
    providers: tuple[ProviderConfig, ...] = Field(
        (),
        min_length=1,
        description="Equally ranked providers are tried in this order. Without any, every request fails.",
    )
    default_models: Annotated[DefaultModels, NullAsEmpty] = DefaultModels()
    aliases: Annotated[dict[Name, AliasTargets], NullAsEmpty] = Field(
        default_factory=dict,
        description="Further names for the `model` of a request. Each stands for a task, a model, or models in the"
        " order in which they are tried; a model may be written as provider/model. An alias may have the"
        " name of a model. One that ends with `*` stands for all other names that begin so.",
    )
    routing: Annotated[RoutingConfig, NullAsEmpty] = RoutingConfig()
    chroma: Annotated[ChromaConfig, NullAsEmpty] = ChromaConfig()
    health: Annotated[HealthConfig, NullAsEmpty] = HealthConfig()
