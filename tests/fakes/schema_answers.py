"""A fake provider that answers with JSON where the request has a JSON schema, as a model with structured output does."""

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.provider import FakeProvider, Received, Reply, chat_completion, ollama_chat

Schema = Mapping[str, Any]


class SchemaFollowingProvider(FakeProvider):
    """As `FakeProvider`; a whole answer to a chat with a JSON schema is the simplest JSON object that it allows."""

    def _default_reply(self, request: Received) -> Reply:
        schema = schema_of(request.body)
        if schema is None:
            return super()._default_reply(request)
        make = ollama_chat if request.path == "/api/chat" else chat_completion
        return Reply(body=make(json.dumps(instance_of(schema)), model=request.body["model"]))


def schema_of(body: Any) -> Schema | None:
    """Returns the JSON schema of a chat in Ollama's or OpenAI's format; None where it has none for an object, is
    streamed, or is no chat.
    """
    if not isinstance(body, dict) or body.get("stream"):
        return None
    found = body.get("format")
    for name in ("response_format", "json_schema", "schema"):
        if found is None:
            body = body.get(name) if isinstance(body, dict) else None
    found = body if found is None else found
    return found if isinstance(found, dict) and isinstance(found.get("properties"), dict) else None


def instance_of(schema: Schema) -> Any:
    """Returns a value that the schema allows: lists have one entry."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: instance_of(one) for name, one in schema.get("properties", {}).items()}
        case "array":
            return [instance_of(schema.get("items", {}))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return "text"
