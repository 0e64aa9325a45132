"""The answers of the API, as their readers may rely on them. Further fields may be added at any time.

The functions write their answers as plain dicts, because models would cost them time; the tests with schemathesis
compare what they answer with these models.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sekha_llm_bridge.config.vocabulary import ProviderType, Task

Count = Annotated[int, Field(ge=0)]
Usd = Annotated[float, Field(ge=0)]


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class Attempt(Answer):
    """One call of one provider."""

    provider_id: str
    model_id: str
    status: int | None
    """The provider's HTTP status; null where it sent no answer."""
    code: str
    """`ok`, or how the attempt failed."""
    reason: str
    latency_ms: Count
    cost: Usd | None
    """What the provider billed in USD; null where that is not known."""
    cost_bound: Usd | None
    """The most that the provider can have billed in USD."""


class Receipt(Answer):
    """Which model answered, after which attempts, and at what cost in USD."""

    provider_id: str
    model_id: str
    attempts: list[Attempt]
    notes: list[str]
    """What the caller should know about this answer, such as fields that were left out."""
    estimated_cost: Usd | None
    """The likely cost, as it was estimated before the request."""
    cost_bound: Usd | None
    """What the cost cannot exceed."""
    cost: Usd | None
    """The sum of all attempts whose cost is known."""
    price_source: str | None
    """`config`, `free`, or the name and date of the price list; null where the price is not known."""
    latency_ms: Count


class ErrorDetails(Answer):
    """What is wrong, for people in `message` and for programs in `code`."""

    message: str
    type: str
    """OpenAI's class of the error, such as `invalid_request_error`."""
    param: str | None
    """The path of the field that is wrong, such as `messages[0].content`."""
    code: str
    """The reason, such as `model_not_found`. The description of each status lists its codes."""
    request_id: str
    """The id under which the log has this request."""
    attempts: list[Attempt] | None = None
    """All attempts of the request, where there were any."""
    cost: Usd | None = None
    cost_bound: Usd | None = None
    bridge: Receipt | None = None
    """The receipt of an embedding that was made and billed, but could not be used."""
    candidates: list["ConsideredModel"] | None = None
    """Every configured model with the reason against it (`/api/v1/route`)."""


class ErrorAnswer(Answer):
    """The envelope of errors, as OpenAI's. API Gateway's own errors, and those for paths that do not exist, also have
    what clients of Anthropic's API read: `type`, which is `error`, and `request_id`.
    """

    error: ErrorDetails
    detail: str | None = None
    """The message once more, for clients of v1; API Gateway's own errors do not have it."""
    type: Literal["error"] | None = None
    request_id: str | None = None


class AnthropicErrorDetails(Answer):
    """What is wrong."""

    message: str
    type: str
    """Anthropic's class of the error, such as `invalid_request_error`; OpenAI's in API Gateway's own errors."""
    code: str
    """The reason, such as `model_not_found`. The description of each status lists its codes."""
    param: str | None
    """The path of the field that is wrong, such as `messages[0].content`."""
    attempts: list[Attempt] | None = None
    """All attempts of the request, where there were any."""
    cost: Usd | None = None
    cost_bound: Usd | None = None


class AnthropicErrorAnswer(Answer):
    """The envelope of errors, as Anthropic's."""

    type: Literal["error"]
    error: AnthropicErrorDetails
    request_id: str
    """The id under which the log has this request."""


class OllamaErrorDetails(Answer):
    """What is wrong, for programs."""

    code: str
    """The reason, such as `model_not_found`. The description of each status lists its codes."""
    param: str | None
    """The path of the field that is wrong, such as `messages[0].content`."""
    request_id: str
    """The id under which the log has this request."""
    attempts: list[Attempt] | None = None
    """All attempts of the request, where there were any."""
    cost: Usd | None = None
    cost_bound: Usd | None = None


class OllamaErrorAnswer(Answer):
    """The envelope of errors, as Ollama's."""

    error: str | ErrorDetails
    """The message; in API Gateway's own errors an object, as OpenAI's."""
    bridge: OllamaErrorDetails | None = None
    """What is wrong, for programs; API Gateway's own errors do not have it."""


class Usage(Answer):
    """The tokens of a chat."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    estimated: bool = False
    """Whether the bridge has estimated them, because the provider did not count."""


class CalledFunction(Answer):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class AnswerToolCall(Answer):
    """A call that the model wants to be made."""

    id: str
    type: str
    function: CalledFunction | None = None


class AnswerMessage(Answer):
    """The model's message."""

    role: Literal["assistant"]
    content: str | None
    """null only where tools are called."""
    tool_calls: list[AnswerToolCall] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    """What a later request must give back of the reasoning, in OpenRouter's form."""


class AnswerChoice(Answer):
    """One of the `n` answers."""

    index: Count
    message: AnswerMessage
    finish_reason: str
    """`stop`, `length`, `tool_calls` or `content_filter`; some providers have others."""
    logprobs: dict[str, Any] | None


class ChatCompletion(Answer):
    """The answer to a chat that is not streamed."""

    id: str
    object: Literal["chat.completion"]
    created: int
    """Seconds since 1970."""
    model: str
    """The model that answered."""
    choices: list[AnswerChoice]
    usage: Usage
    bridge: Receipt


class Delta(Answer):
    """What a chunk adds to a message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None


class ChunkChoice(Answer):
    """What a chunk adds to one of the answers."""

    index: Count
    delta: Delta
    finish_reason: str | None
    logprobs: dict[str, Any] | None = None


class ChatCompletionChunk(Answer):
    """One event of a streamed chat. The last one has `bridge`; one has `usage`, if that was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    bridge: Receipt | None = None


class MessageUsage(Answer):
    """The tokens of a message, as Anthropic counts them: those of the cache are apart."""

    input_tokens: Count
    output_tokens: Count
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    estimated: bool = False
    """Whether the bridge has estimated them, because the provider did not count."""


class Message(Answer):
    """The answer of Anthropic's Messages API that is not streamed."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    """The model that answered."""
    content: list[dict[str, Any]]
    """Blocks: texts, reasoning, and calls of tools."""
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage
    bridge: Receipt


class CountReceipt(Answer):
    """Whose count it is; null where no model could answer now."""

    provider_id: str | None
    model_id: str | None
    estimated: bool
    """Whether the bridge has estimated it, because the provider has no count."""


class TokenCount(Answer):
    """The tokens of a request."""

    input_tokens: Count
    bridge: CountReceipt


class ResponseUsage(Answer):
    """The tokens of a response."""

    input_tokens: Count
    output_tokens: Count
    total_tokens: Count
    estimated: bool = False
    """Whether the bridge has estimated them, because the provider did not count."""


class ResponseAnswer(Answer):
    """The answer of OpenAI's Responses API that is not streamed. It is not stored."""

    id: str
    object: Literal["response"]
    created_at: float
    """Seconds since 1970."""
    status: str
    model: str
    """The model that answered."""
    output: list[dict[str, Any]]
    """Items: messages, reasoning, and calls of functions."""
    usage: ResponseUsage | None
    bridge: Receipt


class OllamaNotes(Answer):
    """What the caller should know about an answer for which no model was asked."""

    notes: list[str]


class OllamaCounts(Answer):
    """What is counted of an answer in the format of Ollama's API."""

    done: bool
    done_reason: str | None = None
    """`stop` or `length`."""
    total_duration: Count | None = None
    """Nanoseconds."""
    prompt_eval_count: Count | None = None
    """The tokens of the prompt."""
    eval_count: Count | None = None
    """The tokens of the answer."""


class OllamaChatAnswer(OllamaCounts):
    """A chat's answer in the format of Ollama's API; each line of a stream is one, and the last has the receipt."""

    model: str
    """The model that answered."""
    created_at: str
    message: dict[str, Any]
    """`role`, `content`, and where there are any `thinking` and `tool_calls`."""
    bridge: Receipt | OllamaNotes | None = None


class OllamaGenerateAnswer(OllamaCounts):
    """A prompt's answer in the format of Ollama's API; each line of a stream is one, and the last has the receipt."""

    model: str
    """The model that answered."""
    created_at: str
    response: str
    thinking: str | None = None
    bridge: Receipt | OllamaNotes | None = None


class OllamaModelDetails(Answer):
    """What is known of a model, in the format of Ollama's API."""

    details: dict[str, Any]
    model_info: dict[str, Any]
    capabilities: list[str]
    """Such as `completion`, `tools`, `vision`, `embedding`."""


class OllamaModelRow(Answer):
    """A model, in the format of Ollama's API."""

    name: str
    model: str


class OllamaModels(Answer):
    """The models, in the format of Ollama's API."""

    models: list[OllamaModelRow]


class OllamaVersion(Answer):
    """The version of Ollama's API that is spoken."""

    version: str


class EmbeddingRow(Answer):
    """The vector of one input."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str
    """Numbers, or little-endian float32 in base64 with `encoding_format: base64`."""


class EmbeddingUsage(Answer):
    """The tokens of the inputs."""

    prompt_tokens: Count
    total_tokens: Count
    estimated: bool = False
    """Whether the bridge has estimated them, because the provider did not count."""


class EmbeddingReceipt(Receipt):
    """The receipt, and what became of the vectors."""

    dimension: Annotated[int, Field(ge=1)]
    collection: str | None
    """The Chroma collection that they are stored in; null where they are not."""
    stored: Count
    pending: Count
    """How many wait in the queue, because Chroma did not take them now."""
    ids: list[str]


class EmbeddingList(Answer):
    """A vector for each input, in their order."""

    object: Literal["list"]
    data: list[EmbeddingRow]
    model: str
    usage: EmbeddingUsage
    bridge: EmbeddingReceipt


class OllamaEmbeddings(Answer):
    """A vector for each text, in the format of Ollama's API."""

    model: str
    embeddings: list[list[float]]
    total_duration: Count | None = None
    """Nanoseconds."""
    prompt_eval_count: Count | None = None
    """The tokens of the texts."""
    bridge: EmbeddingReceipt | OllamaNotes


class OllamaEmbedding(Answer):
    """The vector of one text, in the older format of Ollama's API."""

    embedding: list[float]
    bridge: EmbeddingReceipt | OllamaNotes


class LegacyEmbedding(Answer):
    """The vector of one text."""

    embedding: list[float]
    model: str
    dimension: Annotated[int, Field(ge=1)]
    tokens_used: Count
    bridge: EmbeddingReceipt | None = None
    """Only where the request names a `collection`."""


class Match(Answer):
    """One stored record."""

    id: str
    document: str | None
    metadata: dict[str, Any] | None
    distance: float
    score: float
    """Higher is better."""
    collection: str


class SearchDetails(Answer):
    """How the search was done."""

    collections: list[str]
    notes: list[str]
    embeddings: list[Receipt]
    """The receipt of each embedding of the query."""


class SearchAnswer(Answer):
    """The records that are nearest to the query, the best first."""

    matches: list[Match]
    bridge: SearchDetails


class ConsideredModel(Answer):
    """One configured model, in the order in which they would be tried, or with the reason against it."""

    provider_id: str
    model_id: str
    provider_type: ProviderType
    priority: Annotated[int, Field(ge=1, le=100)]
    estimated_cost: Usd | None
    cost_bound: Usd | None
    price_source: str | None
    circuit_breaker: Literal["closed", "open", "half_open"]
    excluded: str | None
    """Why it would not be tried; null if it would."""


class RouteAnswer(Answer):
    """The model that would answer."""

    provider_id: str
    model_id: str
    estimated_cost: Usd
    """In USD; 0 where the price is not known, see `price_known`."""
    price_known: bool
    reason: str
    provider_type: ProviderType
    notes: list[str]
    candidates: list[ConsideredModel]
    """Every configured model."""


class ConfiguredModel(Answer):
    """One model of one provider."""

    model_id: str
    provider_id: str
    provider_type: ProviderType
    task: Task
    """The first of `tasks`."""
    tasks: list[Task]
    context_window: Annotated[int, Field(ge=1)]
    """Prompt and answer together, in tokens."""
    max_output_tokens: int | None
    dimension: int | None
    """The length of its vectors; null for other models."""
    embedding_space: str | None
    supports_vision: bool
    supports_audio: bool
    supports_function_calling: bool | None
    """null where that is not known."""
    input_usd_per_mtok: Usd | None
    """USD per million tokens; null where the price is not known."""
    output_usd_per_mtok: Usd | None


class ListedModel(Answer):
    """A name that a request's `model` may have, in OpenAI's form."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    providers: list[str]
    """The providers that have it."""


class ModelList(Answer):
    """The names that a request's `model` may have."""

    object: Literal["list"]
    data: list[ListedModel]


class TaskRow(Answer):
    """A task, and its models."""

    task: Task
    default_model: str | None
    models: list[str]


class BreakerHealth(Answer):
    """The circuit breaker of a provider."""

    state: Literal["closed", "open", "half_open"]
    failure_count: Count
    """Failures in a row."""
    last_failure: datetime | None
    cause: str | None = None
    """The code of the last failure, while the breaker is not closed."""
    retry_at: datetime | None = None
    """When the provider may be tried again, while the breaker is open."""


class ProviderHealth(Answer):
    """One provider, by its circuit breaker and by the last check."""

    status: Literal["healthy", "degraded", "unhealthy", "unknown", "disabled", "pending"]
    """`unknown` before the first check; `disabled` without a secret or a variable that it needs; `pending` while its
    secret could not be fetched."""
    models_count: Count
    circuit_breaker: BreakerHealth
    latency_ms: Count | None
    """How long the last check took."""
    last_checked: datetime | None
    error: str | None
    """The code of the last check's failure."""
    reason: str | None = None
    """Why the provider is disabled or pending."""


class VectorHealth(Answer):
    """The vectors that wait for Chroma."""

    pending: Count | None
    """null where that is not known."""


class Health(Answer):
    """The state of the bridge.

    Where the bridge needs API keys, who sends no valid one gets only `status` and `version`.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    providers: dict[str, ProviderHealth] | None = None
    """By their ids."""
    vectors: VectorHealth | None = None
    models_loaded: list[str] | None = None
    """The ids of the configured models, for clients of v1."""
    notes: list[str] | None = None
    """Why this may be out of date, or incomplete."""


class ProvidersHealth(Answer):
    """The providers, counted."""

    providers: dict[str, ProviderHealth]
    total_providers: Count
    healthy_providers: Count
    total_models: Count


class NamedProviderHealth(ProviderHealth):
    """One provider, with its type."""

    provider_type: ProviderType


class PathDescription(Answer):
    """One operation of the API."""

    method: str
    path: str
    summary: str


class MemoryAnswer(Answer):
    """What the answers to v1's requests have in common."""

    model: str
    """The model that answered last."""
    tokens_used: Count
    """The tokens of all calls."""
    bridge: Receipt


class Summary(MemoryAnswer):
    """A summary, or what the messages asked for."""

    summary: str
    level: Literal["daily", "weekly", "monthly"]
    message_count: Count


class EntityLists(Answer):
    """Entities by kind."""

    people: list[str]
    organizations: list[str]
    technical_terms: list[str]
    concepts: list[str]


class ExtractedEntities(MemoryAnswer):
    """The entities of a text."""

    entities: EntityLists


class ImportanceScore(MemoryAnswer):
    """How important a text is."""

    score: Annotated[float, Field(ge=1, le=10)]
    reasoning: str


class UsageAmounts(Answer):
    """Requests, tokens and costs. Requests that called no provider are not counted."""

    requests: Count
    input_tokens: Count
    cached_input_tokens: Count
    """Those of `input_tokens` that were read from a provider's cache."""
    output_tokens: Count
    cost: Usd
    """The sum of all costs that are known, in USD."""
    max_cost: Usd
    """The most that the providers can have billed in USD: with attempts that were interrupted."""
    unpriced_attempts: Count
    """Calls of models without a known price, which are in neither sum."""


class UsageSum(UsageAmounts):
    """The usage of one day, one model or one key."""

    day: str | None = None
    model: str | None = None
    """As `provider/model`."""
    key: str | None = None
    """The id of an API key; null where none was needed."""


class UsageAnswer(Answer):
    """What was used in a period."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=(), populate_by_name=True)

    from_: Annotated[date, Field(alias="from")]
    """The first day, in UTC."""
    to: date
    """The last day."""
    by: Literal["day", "model", "key"]
    key_id: str | None
    """The API key whose usage this is; null where the bridge needs no keys: then it is that of all requests."""
    data: list[UsageSum]
    """Days in order; models and keys by their cost, the most expensive first."""
    total: UsageAmounts


class Overview(Answer):
    """What runs here.

    Where the bridge needs API keys, who sends no valid one gets only `status` and `version`.
    """

    version: str
    status: Literal["healthy", "degraded", "unhealthy"]
    name: str | None = None
    description: str | None = None
    notes: list[str] | None = None
    base_url: str | None = None
    """For OpenAI's clients."""
    openapi_url: str | None = None
    health_url: str | None = None
    providers: dict[str, NamedProviderHealth] | None = None
    disabled_providers: dict[str, str] | None = None
    """Why a configured provider is not used, by its id."""
    models: list[ConfiguredModel] | None = None
    names: list[str] | None = None
    """The names beside those of models that a request's `model` may have."""
    paths: list[PathDescription] | None = None
    example: str | None = None
    """A command to try."""
