"""The operations of the API: paths, requests, answers and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel

from api_description import answers, requests
from api_description.answers import ErrorAnswer
from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.embeddings.request import EmbeddingRequest, LegacyEmbedRequest
from sekha_llm_bridge.api.embeddings.search_request import SearchRequest
from sekha_llm_bridge.api.memory.request import ExtractRequest, ScoreRequest, SummarizeRequest
from sekha_llm_bridge.api.models.route import ExplainRequest
from sekha_llm_bridge.errors import (
    AccessUnavailable,
    AllProvidersFailed,
    AnswerNotKept,
    BridgeError,
    BudgetExceeded,
    CollectionNotFound,
    ContextLengthExceeded,
    CostLimitExceeded,
    DeadlineExceeded,
    EmbeddingSpaceMismatch,
    FailureKind,
    IdempotencyKeyReused,
    InvalidRequest,
    KeyLimitExceeded,
    ModelNotFound,
    NoCapableModel,
    NoProviderAvailable,
    NotAllowed,
    PreviousResponseNotFound,
    RateLimited,
    RequestUnderWay,
    UnusableAnswer,
    VectorStoreUnavailable,
)

Error = type[BridgeError] | FailureKind


class Stream(NamedTuple):
    """How an answer is streamed. `about` describes one event, or one line."""

    media_type: str
    about: str


class ListOf(NamedTuple):
    """A bare array of such objects."""

    model: type[BaseModel]


_PLAN: tuple[Error, ...] = (
    *(InvalidRequest, NoCapableModel, ContextLengthExceeded, CostLimitExceeded, ModelNotFound, NotAllowed),
    *(RateLimited, NoProviderAvailable, DeadlineExceeded),
)
_ONE_ATTEMPT = tuple(kind for kind in FailureKind if kind.status < 500 and kind.code != "invalid_request")
_REPEATED: tuple[Error, ...] = (RequestUnderWay, AnswerNotKept, IdempotencyKeyReused)
_CALL: tuple[Error, ...] = (
    *(*_PLAN, *_ONE_ATTEMPT),
    *(AllProvidersFailed, BudgetExceeded, KeyLimitExceeded, AccessUnavailable, *_REPEATED),
)
_CHAT = tuple(kind for kind in _CALL if kind is not FailureKind.DIMENSIONS_IGNORED)
REJECTED_BY_PROVIDER = "`invalid_request`: the provider refuses the request, with this status"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answers` are the models by status; `examples` are requests by their titles."""

    path: str
    operation_id: str
    summary: str
    description: str
    tag: str
    answers: Mapping[int, type[BaseModel] | ListOf | None]
    request: type[BaseModel] | None = None
    errors: Sequence[Error] = ()
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stream: Stream | None = None
    is_public: bool = False
    has_html: bool = False
    parameters: Sequence[Mapping[str, Any]] = ()
    error: type[BaseModel] = ErrorAnswer

    @property
    def method(self) -> str:
        """The HTTP method; GET operations answer HEAD as well."""
        return "get" if self.request is None else "post"

    @property
    def asks_models(self) -> bool:
        """Whether a model answers, so that a repeated request may have an `Idempotency-Key`."""
        return AllProvidersFailed in self.errors


_HELLO = {"messages": [{"role": "user", "content": "Say hello."}]}
_CHAT_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "Chosen by the bridge": {"model": "auto", **_HELLO},
    "With a cost limit": {**_HELLO, "max_cost": 0.01, "task": "chat_smart"},
    "Streamed": {**_HELLO, "stream": True, "stream_options": {"include_usage": True}},
    "With an image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in this image?"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/image.jpg"}},
                ],
            }
        ]
    },
}
_LEGACY_EMBED = {"A text": {"text": "The bridge is open."}}
_MODEL_PARAMETER = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "A model's id, `provider/model`, an alias, or a name such as `auto`. Slashes need not be encoded.",
    "schema": {"type": "string", "minLength": 1},
    "example": "auto",
}


def _day_parameter(name: str, description: str) -> Mapping[str, Any]:
    schema = {"type": "string", "format": "date"}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_USAGE_PARAMETERS = (
    _day_parameter("from", "The first day, in UTC; by default 29 days before `to`. Usage is kept for 400 days."),
    _day_parameter("to", "The last day, in UTC; by default today."),
    {
        "name": "by",
        "in": "query",
        "required": False,
        "description": "What to sum up.",
        "schema": {"type": "string", "enum": ["day", "model", "key"], "default": "day"},
    },
)


_EVENTS, _LINES = "text/event-stream", "application/x-ndjson"
_OPTIONS = (
    "with the bridge's own fields `task`, `preferred_model`, `max_cost`, `require_vision` and `allow_fallback`, which "
    "may be headers as well"
)


def _option_parameter(name: str, description: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": f"x-bridge-{name}", "in": "header", "required": False, "description": description, "schema": schema}


_BOOLEAN = {"type": "string", "enum": ["true", "false", "1", "0"]}
_OPTION_PARAMETERS = (
    _option_parameter(
        "max-cost",
        "The field `max_cost`; the lower one holds.",
        {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,12})?$"},
    ),
    _option_parameter("preferred-model", "The field `preferred_model`, which takes precedence.", {"type": "string"}),
    _option_parameter(
        "task", "The field `task`, which takes precedence.", {"$ref": "#/components/schemas/ChatTaskName"}
    ),
    _option_parameter("require-vision", "The field `require_vision`, which takes precedence.", _BOOLEAN),
    _option_parameter("allow-fallback", "The field `allow_fallback`, which takes precedence.", _BOOLEAN),
)


def _chat(path: str, operation_id: str, note: str = "") -> Operation:
    return Operation(
        path,
        operation_id,
        f"Answer a chat, whole or as a stream{note}",
        f"OpenAI's chat completions, {_OPTIONS}. Unknown fields are passed on to providers with OpenAI's format. A "
        "stream is sent as server-sent events, each with a `ChatCompletionChunk`, and ends with `data: [DONE]`. If it "
        'fails after its beginning, it ends with `data: {"error": …}` instead.',
        "Chat",
        {200: answers.ChatCompletion},
        ChatRequest,
        _CHAT,
        _CHAT_EXAMPLES,
        stream=Stream(
            _EVENTS,
            "A `ChatCompletionChunk`, or an `ErrorAnswer` where the answer broke off; at last `[DONE]`.",
        ),
        parameters=_OPTION_PARAMETERS,
    )


def _embed(path: str, operation_id: str, note: str = "") -> Operation:
    return Operation(
        path,
        operation_id,
        f"Embed one text, for callers of v1{note}",
        "One text, one vector. It is stored only where the request names a `collection`.",
        "Embeddings",
        {200: answers.LegacyEmbedding},
        LegacyEmbedRequest,
        (*_CALL, EmbeddingSpaceMismatch),
        _LEGACY_EMBED,
    )


_MEMORY = (*_CHAT, UnusableAnswer)
_SUMMARIZE_PATHS = (
    ("/summarize", "summarize", ""),
    ("/api/v1/summarize", "summarizeApiV1", "; same as /summarize"),
)
_EXTRACT_PATHS = (
    ("/extract", "extract", ""),
    ("/extract_entities", "extractEntities", "; same as /extract"),
    ("/api/v1/extract", "extractApiV1", "; same as /extract"),
)
_SCORE_PATHS = (
    ("/score", "score", ""),
    ("/score_importance", "scoreImportance", "; same as /score"),
    ("/api/v1/score", "scoreApiV1", "; same as /score"),
)


def _summarize(path: str, operation_id: str, note: str) -> Operation:
    return Operation(
        path,
        operation_id,
        f"Summarize messages{note}",
        "What the messages themselves ask for, such as labels, is done instead. A text beyond the context window is "
        "read in parts.",
        "Memory",
        {200: answers.Summary},
        SummarizeRequest,
        _MEMORY,
        {"Two messages": {"messages": ["We moved the launch to May.", "Anna will tell the customers."]}},
    )


def _extract(path: str, operation_id: str, note: str) -> Operation:
    return Operation(
        path,
        operation_id,
        f"Find the entities of a text{note}",
        "People, organizations, technical terms and concepts. An answer of a model that cannot be used is an error.",
        "Memory",
        {200: answers.ExtractedEntities},
        ExtractRequest,
        _MEMORY,
        {"A text": {"text": "Anna of Acme explains vector search."}},
    )


def _score(path: str, operation_id: str, note: str) -> Operation:
    return Operation(
        path,
        operation_id,
        f"Score how important a text is{note}",
        "From 1 to 10, with the reason. An answer of a model that cannot be used is an error.",
        "Memory",
        {200: answers.ImportanceScore},
        ScoreRequest,
        _MEMORY,
        {"A message": {"message": "The server is on fire."}},
    )


_MESSAGE_EXAMPLE = {"model": "auto", "max_tokens": 100, **_HELLO}
_ANTHROPIC = (
    Operation(
        "/v1/messages",
        "createMessage",
        "Answer a chat in the format of Anthropic's Messages API, whole or as a stream",
        f"Anthropic's Messages API, {_OPTIONS}. A stream has Anthropic's events, and the last one has the receipt. If "
        "it fails after its beginning, it ends with the event `error`, without `message_stop`.",
        "Anthropic",
        {200: answers.Message},
        requests.MessagesRequest,
        _CHAT,
        {"Chosen by the bridge": _MESSAGE_EXAMPLE, "Streamed": {**_MESSAGE_EXAMPLE, "stream": True}},
        stream=Stream(_EVENTS, "One of Anthropic's events, in their order, with `ping` while the model is silent."),
        parameters=_OPTION_PARAMETERS,
        error=answers.AnthropicErrorAnswer,
    ),
    Operation(
        "/v1/messages/count_tokens",
        "countMessageTokens",
        "Count the tokens of a request of Anthropic's Messages API, which is not sent",
        "The tokens of the prompt for the model that would answer.",
        "Anthropic",
        {200: answers.TokenCount},
        requests.TokensRequest,
        _PLAN,
        {"A chat": {"model": "auto", **_HELLO}},
        parameters=_OPTION_PARAMETERS,
        error=answers.AnthropicErrorAnswer,
    ),
)
_RESPONSES = Operation(
    "/v1/responses",
    "createResponse",
    "Answer a chat in the format of OpenAI's Responses API, whole or as a stream",
    f"OpenAI's Responses API, {_OPTIONS}. Nothing is stored: send the whole conversation in `input`. A stream has "
    "OpenAI's events, and the last one has the receipt. If it fails after its beginning, it ends with the events "
    "`error` and `response.failed`, without `response.completed`.",
    "Chat",
    {200: answers.ResponseAnswer},
    requests.ResponsesRequest,
    (*_CHAT, PreviousResponseNotFound),
    {
        "A text": {"model": "auto", "input": "Say hello."},
        "Items": {"model": "auto", "input": [{"role": "user", "content": "Say hello."}]},
        "Streamed": {"model": "auto", "input": "Say hello.", "stream": True},
    },
    stream=Stream(_EVENTS, "One of OpenAI's events, in their order, with its `sequence_number`."),
    parameters=_OPTION_PARAMETERS,
)


def _ollama(
    path: str,
    operation_id: str,
    summary: str,
    description: str,
    answer: type[BaseModel],
    *,
    request: type[BaseModel] | None = None,
    errors: Sequence[Error] = (),
    examples: Mapping[str, Mapping[str, Any]] | None = None,
    stream: Stream | None = None,
    parameters: Sequence[Mapping[str, Any]] = (),
) -> Operation:
    return Operation(
        path,
        operation_id,
        f"{summary}, in the format of Ollama's API",
        description,
        "Ollama",
        {200: answer},
        request,
        errors,
        examples or {},
        stream=stream,
        parameters=parameters,
        error=answers.OllamaErrorAnswer,
    )


_OLLAMA_STREAM = (
    "It is streamed unless `stream` is false: JSON objects, one a line, and the last one has the receipt. If it fails "
    "after its beginning, the last line has `error`."
)
_OLLAMA = (
    _ollama(
        "/api/chat",
        "ollamaChat",
        "Answer a chat, whole or as a stream",
        f"Ollama's chat, {_OPTIONS}. {_OLLAMA_STREAM}",
        answers.OllamaChatAnswer,
        request=requests.OllamaChatRequest,
        errors=_CHAT,
        examples={"Streamed": {"model": "auto", **_HELLO}, "Whole": {"model": "auto", **_HELLO, "stream": False}},
        stream=Stream(_LINES, "An `OllamaChatAnswer`, or an `OllamaErrorAnswer` where the answer broke off."),
        parameters=_OPTION_PARAMETERS,
    ),
    _ollama(
        "/api/generate",
        "ollamaGenerate",
        "Answer a prompt, whole or as a stream",
        f"Ollama's generation of text, {_OPTIONS}. {_OLLAMA_STREAM}",
        answers.OllamaGenerateAnswer,
        request=requests.OllamaGenerateRequest,
        errors=_CHAT,
        examples={"Whole": {"model": "auto", "prompt": "Say hello.", "stream": False}},
        stream=Stream(_LINES, "An `OllamaGenerateAnswer`, or an `OllamaErrorAnswer` where the answer broke off."),
        parameters=_OPTION_PARAMETERS,
    ),
    _ollama(
        "/api/embed",
        "ollamaEmbed",
        "Embed texts, and store the vectors in Chroma",
        "Ollama's embeddings, stored as those of `/v1/embeddings`.",
        answers.OllamaEmbeddings,
        request=requests.OllamaEmbedRequest,
        errors=(*_CALL, EmbeddingSpaceMismatch),
        examples={"Texts": {"model": "embedding", "input": ["The bridge is open.", "The bridge is closed."]}},
    ),
    _ollama(
        "/api/embeddings",
        "ollamaEmbeddings",
        "Embed one text",
        "Ollama's older path for embeddings.",
        answers.OllamaEmbedding,
        request=requests.OllamaLegacyEmbedRequest,
        errors=(*_CALL, EmbeddingSpaceMismatch),
        examples={"A text": {"model": "embedding", "prompt": "The bridge is open."}},
    ),
    _ollama(
        "/api/show",
        "ollamaShow",
        "What is known of a model",
        "Its abilities and its context window.",
        answers.OllamaModelDetails,
        request=requests.OllamaShowRequest,
        errors=(InvalidRequest, ModelNotFound),
        examples={"A name": {"model": "auto"}},
    ),
    _ollama(
        "/api/tags",
        "ollamaTags",
        "List the names of models",
        "Every name that a request's `model` may have.",
        answers.OllamaModels,
    ),
    _ollama(
        "/api/ps",
        "ollamaRunningModels",
        "List the models that are loaded",
        "The bridge does not know which models a server has loaded.",
        answers.OllamaModels,
    ),
    _ollama(
        "/api/version",
        "ollamaVersion",
        "The version",
        "The version that clients compare with what they need.",
        answers.OllamaVersion,
    ),
)

OPERATIONS: Sequence[Operation] = (
    _chat("/v1/chat/completions", "createChatCompletion"),
    _chat("/api/v1/chat/completions", "createChatCompletionApiV1", "; same as /v1/chat/completions"),
    *_ANTHROPIC,
    _RESPONSES,
    *_OLLAMA,
    Operation(
        "/v1/embeddings",
        "createEmbeddings",
        "Embed texts, and store the vectors in Chroma",
        "OpenAI's embeddings, with the bridge's own fields `collection`, `ids`, `metadatas`, `store`, `max_cost` and "
        "`preferred_model`. While Chroma is down, the vectors wait in a queue, and `bridge.pending` counts them.",
        "Embeddings",
        {200: answers.EmbeddingList},
        EmbeddingRequest,
        (*_CALL, EmbeddingSpaceMismatch),
        {
            "Texts": {"input": ["The bridge is open.", "The bridge is closed."]},
            "Not stored": {"input": "The bridge is open.", "store": False},
        },
    ),
    _embed("/embed", "embedText"),
    _embed("/embeddings", "embedTextEmbeddings", "; same as /embed"),
    _embed("/api/v1/embed", "embedTextApiV1", "; same as /embed"),
    *(_summarize(path, operation_id, note) for path, operation_id, note in _SUMMARIZE_PATHS),
    *(_extract(path, operation_id, note) for path, operation_id, note in _EXTRACT_PATHS),
    *(_score(path, operation_id, note) for path, operation_id, note in _SCORE_PATHS),
    Operation(
        "/api/v1/search",
        "search",
        "Search the stored texts by meaning",
        "Embeds the query by the model of the collection's vectors, and answers with the nearest records.",
        "Embeddings",
        {200: answers.SearchAnswer},
        SearchRequest,
        (*_CALL, CollectionNotFound, EmbeddingSpaceMismatch, VectorStoreUnavailable),
        {"A question": {"query": "Can I cross the river?", "n_results": 3}},
    ),
    Operation(
        "/api/v1/route",
        "explainRoute",
        "Explain which model would answer a request, and why",
        "Plans a request without running it: what it explains is what happens.",
        "Routing",
        {200: answers.RouteAnswer},
        ExplainRequest,
        _PLAN,
        {"A task": {"task": "chat_smart", "max_cost": 0.05}, "A chat": {"model": "auto", **_HELLO}},
    ),
    Operation(
        "/v1/models",
        "listModels",
        "List the names of models, as OpenAI does",
        "Every name that a request's `model` may have: models, aliases, `auto` and the default names.",
        "Models",
        {200: answers.ModelList},
    ),
    Operation(
        "/v1/models/{model}",
        "retrieveModel",
        "One name of a model, as OpenAI does",
        "One entry of the list. It knows `provider/model`, too.",
        "Models",
        {200: answers.ListedModel},
        errors=(ModelNotFound,),
        parameters=(_MODEL_PARAMETER,),
    ),
    Operation(
        "/api/v1/models",
        "listConfiguredModels",
        "List the configured models, with their abilities and prices",
        "One entry for each model of each provider.",
        "Models",
        {200: ListOf(answers.ConfiguredModel)},
    ),
    Operation(
        "/api/v1/tasks",
        "listTasks",
        "List the tasks that have a model",
        "Every task, with its default model and its models.",
        "Models",
        {200: ListOf(answers.TaskRow)},
    ),
    Operation(
        "/api/v1/usage",
        "getUsage",
        "What was used, by day, model or key",
        "Tokens and costs of the caller's API key; of all requests where no keys are needed. A request is counted "
        "within a minute or two after its end.",
        "Usage",
        {200: answers.UsageAnswer},
        errors=(InvalidRequest, AccessUnavailable),
        parameters=_USAGE_PARAMETERS,
    ),
    Operation(
        "/api/v1/health",
        "getHealth",
        "The state of every provider",
        "From the last scheduled check and the circuit breakers; no provider is called. The status is 503 when no "
        "provider is expected to answer.",
        "Health",
        {200: answers.Health, 503: answers.Health},
        is_public=True,
    ),
    Operation(
        "/health",
        "getHealthV1",
        "The state of every provider, at its path in v1",
        "Redirects to `/api/v1/health`, with the same body.",
        "Health",
        {307: answers.Health},
        is_public=True,
    ),
    Operation(
        "/api/v1/health/providers",
        "getProvidersHealth",
        "The state of every provider, counted",
        "The providers of `/api/v1/health`, with totals.",
        "Health",
        {200: answers.ProvidersHealth},
    ),
    Operation(
        "/",
        "getOverview",
        "What runs here: a page for a browser, JSON for a program",
        "A browser gets a page, by its `Accept` header. No provider is called.",
        "About",
        {200: answers.Overview},
        has_html=True,
        is_public=True,
    ),
    Operation(
        "/openapi.json",
        "getDescription",
        "This description",
        "The description of the API, in OpenAPI 3.1.",
        "About",
        {200: None},
        is_public=True,
    ),
)
