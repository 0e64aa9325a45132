"""Makes the OpenAPI document of the operations."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from api_description.answers import ChatCompletionChunk
from api_description.fields import FIELDS
from api_description.operations import OPERATIONS, REJECTED_BY_PROVIDER, Error, ListOf, Operation, Stream
from api_description.rules import add_rules
from sekha_llm_bridge import __version__
from sekha_llm_bridge.api.landing.overview import DESCRIPTION, DESCRIPTION_FILE, NAME
from sekha_llm_bridge.errors import FailureKind

_REF = "#/components/schemas/{model}"
_TAGS = {
    "Chat": "Answers of models, in the formats of OpenAI's APIs.",
    "Anthropic": "Answers of models, in the format of Anthropic's API.",
    "Ollama": "Answers of models, and what is configured, in the format of Ollama's API.",
    "Embeddings": "Vectors of texts, and search in the stored ones.",
    "Routing": "Which model answers, and why.",
    "Models": "What is configured.",
    "Usage": "What was used, and what it cost.",
    "Health": "The state of the providers.",
    "About": "What runs here.",
}
_NOTES = (
    "Errors have the envelope of the path's API: OpenAI's, Anthropic's or Ollama's. A wrong path is a 404 that says "
    "what was probably meant, a wrong method a 405. GET operations answer HEAD as well, and a slash at the end of a "
    "path is ignored. Answers may get further fields at any time."
)
# What API Gateway itself answers on every path, and what any function may answer.
_EVERYWHERE: Mapping[int, tuple[str, ...]] = {
    401: ("`invalid_api_key`: a valid API key is needed",),
    403: ("`access_denied`: the API key may not do that",),
    429: ("`rate_limit_exceeded`: too many requests at once",),
    500: ("`internal_error`: a mistake in the bridge", "`config_invalid`: its configuration cannot be used"),
    502: ("`internal_error`: the function did not answer",),
    503: (
        "`no_capacity`: too many requests run at once",
        "`access_unavailable`: the API key could not be verified",
        "`config_unavailable`: a stored value that the configuration needs could not be fetched yet",
    ),
    504: ("`deadline_exceeded`: the answer did not come in time",),
}
_NEED_KEYS = (401, 403, 503)
_KEY = "An API key of this bridge, unless it needs none. It may be in `x-api-key` or `api-key` instead."
_TOO_LARGE = "`payload_too_large`: the request is too large"
_TITLES = {
    400: "The request is wrong",
    401: "No valid API key",
    402: "It would cost too much",
    403: "Not allowed",
    404: "Not found",
    409: "Conflict with what is stored",
    413: "Too large",
    422: "Refused",
    429: "Too many requests",
    500: "An error of the bridge",
    502: "No usable answer",
    503: "Not available now",
    504: "Not in time",
}
_RETRIED = {409, 429, 503}


class _Schemas(GenerateJsonSchema):
    """Leaves out the titles of fields, which would become names of classes in generated clients."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 — the signature of pydantic
        return False

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Describes amounts of money, which may be texts, so that they need not be rounded."""
        number = {"type": "number", "minimum": float(schema["ge"]), "maximum": float(schema["le"])}
        return {"anyOf": [number, {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,12})?$"}]}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        generated = super().default_schema(schema)
        if generated.get("default", ...) is None:  # a field that may be left out needs no default
            del generated["default"]
        return generated


def _ref(model: type[BaseModel]) -> JsonSchemaValue:
    return {"$ref": _REF.format(model=model.__name__)}


def description_text() -> str:
    """Returns the text of `openapi.json`."""
    return json.dumps(description(), indent=1, ensure_ascii=False) + "\n"


def write_description() -> None:
    """Writes the file that `GET /openapi.json` answers with."""
    DESCRIPTION_FILE.write_text(description_text(), encoding="utf-8")


def description() -> dict[str, Any]:
    """Returns the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": NAME, "version": __version__, "summary": DESCRIPTION, "description": _NOTES},
        "servers": [{"url": ".", "description": "Where this description is."}],
        "security": [{}, {"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _KEY}},
            "headers": _headers(),
            "schemas": _schemas(),
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    body: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
    }
    if operation.is_public:
        body["security"] = []
    parameters = [*operation.parameters, *([_KEY_PARAMETER] if operation.asks_models else [])]
    if parameters:
        body["parameters"] = parameters
    if operation.request is not None:
        examples = {_key(title): {"summary": title, "value": value} for title, value in operation.examples.items()}
        content = {"application/json": {"schema": _ref(operation.request), "examples": examples}}
        body["requestBody"] = {"required": True, "content": content}
    answers = {str(status): _answer(operation, status) for status in operation.answers}
    errors = {str(status): error for status, error in _errors(operation).items() if status not in operation.answers}
    return {**body, "responses": dict(sorted({**answers, **errors}.items()))}


def _key(title: str) -> str:
    return title.lower().replace(" ", "_")


def _answer(operation: Operation, status: int) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _schema_of(operation.answers[status])}}
    if operation.stream is not None:
        content[operation.stream.media_type] = {"schema": _event(operation.stream)}
    if operation.has_html:
        content["text/html"] = {"schema": {"type": "string"}}
    headers = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
    if operation.asks_models:
        headers |= {name: {"$ref": f"#/components/headers/{key}"} for name, (key, _, _) in _RECEIPT_HEADERS.items()}
    if status == _REDIRECT:
        headers["location"] = {"$ref": "#/components/headers/Location"}
    return {"description": _ANSWER_TITLES.get(status, "The answer"), "headers": headers, "content": content}


_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Any text of your own, such as a UUID. The same request with the same key gets the first answer "
    "again for a day, and no model is asked twice.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_REDIRECT = 307
_ANSWER_TITLES = {_REDIRECT: "The same body is at the new path", 503: "No provider is expected to answer"}
_RECEIPT_HEADERS = {
    "x-bridge-provider": ("BridgeProvider", "The provider that answered.", {"type": "string"}),
    "x-bridge-model": ("BridgeModel", "The model that answered.", {"type": "string"}),
    "x-bridge-attempts": ("BridgeAttempts", "The number of attempts.", {"type": "string", "pattern": "^[0-9]+$"}),
    "x-bridge-cost-usd": ("BridgeCost", "The cost in USD, where it is known.", {"type": "string"}),
    "x-idempotent-replayed": ("Replayed", "The answer to an earlier request with this key.", {"const": "true"}),
}


def _event(stream: Stream) -> JsonSchemaValue:
    """Returns the schema of one event, as in OpenAI's own description; of the whole text, where it has lines."""
    data = {"type": "string", "description": stream.about}
    if stream.media_type != "text/event-stream":
        return {**data, "description": f"Lines, each with JSON. {stream.about}"}
    about = "One of the server-sent events."
    return {"type": "object", "description": about, "properties": {"data": data}, "required": ["data"]}


def _headers() -> dict[str, Any]:
    text = {"type": "string"}
    seconds = {"type": "string", "pattern": "^[0-9]+$"}
    return {
        "RequestId": {"description": "The id under which the log has the request.", "schema": text},
        "RetryAfter": {"description": "Seconds after which a retry makes sense.", "schema": seconds},
        "Location": {"description": "The new path, relative to this one.", "schema": text},
        **{key: {"description": about, "schema": schema} for key, about, schema in _RECEIPT_HEADERS.values()},
    }


def _errors(operation: Operation) -> dict[int, dict[str, Any]]:
    reasons: dict[int, list[str]] = {}
    for error in operation.errors:
        reasons.setdefault(error.status, []).append(_reason(error))
    for status, everywhere in _EVERYWHERE.items():
        if operation.is_public and status in _NEED_KEYS:
            continue
        reasons[status] = list(dict.fromkeys([*everywhere, *reasons.get(status, ())]))
    if operation.request is not None:
        reasons[413] = [_TOO_LARGE]
    if FailureKind.CONTENT_REFUSED in operation.errors:
        reasons[413].append(REJECTED_BY_PROVIDER)
        reasons.setdefault(422, []).append(REJECTED_BY_PROVIDER)
    return {status: _error(operation, status, texts) for status, texts in reasons.items()}


def _error(operation: Operation, status: int, reasons: Iterable[str]) -> dict[str, Any]:
    headers = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
    if status in _RETRIED:
        headers["retry-after"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": f"{_TITLES[status]}. " + "; ".join(reasons) + ".",
        "headers": headers,
        "content": {"application/json": {"schema": _ref(operation.error)}},
    }


def _reason(error: Error) -> str:
    if isinstance(error, FailureKind):
        return f"`{error.code}`: {_FAILURES[error]}"
    text = (error.__doc__ or "").partition(". ")[0].partition(";")[0].rstrip(".").replace("\n    ", " ")
    return f"`{error.code}`: {text[:1].lower()}{text[1:]}"


_FAILURES = {
    FailureKind.CONTEXT_LENGTH_EXCEEDED: "the prompt is too long for the provider",
    FailureKind.DIMENSIONS_IGNORED: "the model cannot shorten its vectors",
    FailureKind.CANDIDATE_UNSUITABLE: "the model lacks something that the request uses",
    FailureKind.CONTENT_REFUSED: "the provider refuses the content",
}


def _schema_of(answer: type[BaseModel] | ListOf | None) -> JsonSchemaValue:
    if answer is None:
        return {"type": "object"}
    if isinstance(answer, ListOf):
        return {"type": "array", "items": _ref(answer.model)}
    return _ref(answer)


def _schemas() -> dict[str, Any]:
    """Returns the schemas of all models, by their names."""
    wanted = {model.__name__: model for model in _models()}
    _, document = models_json_schema(
        [(wanted[name], "validation") for name in sorted(wanted)], ref_template=_REF, schema_generator=_Schemas
    )
    schemas: dict[str, Any] = document["$defs"]
    for model, descriptions in FIELDS.items():
        for name, text in descriptions.items():
            schemas[model]["properties"][name]["description"] = text
    add_rules(schemas)
    for schema in schemas.values():
        _join_lines(schema)
    return dict(sorted(schemas.items()))


def _models() -> Iterator[type[BaseModel]]:
    yield ChatCompletionChunk
    for operation in OPERATIONS:
        for model in (operation.request, operation.error, *operation.answers.values()):
            if model is not None:
                yield model.model if isinstance(model, ListOf) else model


def _join_lines(schema: JsonSchemaValue) -> None:
    """Makes one line of each description: docstrings are wrapped."""
    for part in (schema, *schema.get("properties", {}).values()):
        if "description" in part:
            part["description"] = " ".join(part["description"].split())
