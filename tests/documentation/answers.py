"""A fake provider that answers with JSON where the request has a JSON schema, as a model with structured output does."""

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.provider import FakeProvider, Received, Reply, chat_completion, ollama_chat

Schema = Mapping[str, Any]


class SchemaFollowingProvider(FakeProvider):
    """As `FakeProvider`; a chat with a JSON schema gets the simplest JSON that it allows."""

    def _default_reply(self, request: Received) -> Reply:
        schema = schema_of(request.body)
        if schema is None:
            return super()._default_reply(request)
        make = ollama_chat if request.path == "/api/chat" else chat_completion
        return Reply(body=make(json.dumps(instance_of(schema)), model=request.body["model"]))


def schema_of(body: Any) -> Schema | None:
    """Returns the JSON schema of a chat in Ollama's or OpenAI's format; None where it has none, or is no chat."""
    fields = body if isinstance(body, dict) else {}
    found = fields.get("format") or fields.get("response_format", {}).get("json_schema", {}).get("schema")
    return found if isinstance(found, dict) else None


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
