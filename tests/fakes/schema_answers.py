"""A fake provider that answers with JSON where the request has a JSON schema, as a model with structured output does."""

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.provider import FakeProvider, Received, Reply, chat_completion, ollama_chat

Schema = Mapping[str, Any]
NO_EXAMPLES: Mapping[str, Any] = {}
_BY_TYPE: Mapping[str, Any] = {"string": "some text", "integer": 8, "number": 8, "boolean": True, "null": None}


class SchemaFollowingProvider(FakeProvider):
    """As `FakeProvider`; a whole answer to a chat with a JSON schema is the simplest JSON object that it allows."""

    def _default_reply(self, request: Received) -> Reply:
        schema = schema_of(request.body)
        if schema is None:
            return super()._default_reply(request)
        make = ollama_chat if request.path == "/api/chat" else chat_completion
        return Reply(body=make(json.dumps(example_of(schema)), model=request.body["model"]))


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


def example_of(schema: Schema, by_name: Mapping[str, Any] = NO_EXAMPLES) -> Any:
    """Returns a value that fits a JSON schema, as far as libraries use it for structured output; lists have one entry.
    `by_name` has the texts and numbers of certain properties.
    """
    return _example(schema, by_name, schema, "")


def _example(schema: Schema, by_name: Mapping[str, Any], root: Schema, name: str) -> Any:
    if reference := schema.get("$ref"):
        return _example(root["$defs"][reference.rpartition("/")[2]], by_name, root, name)
    if options := schema.get("anyOf"):
        return _example(options[0], by_name, root, name)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {key: _example(one, by_name, root, key) for key, one in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), by_name, root, name)]
    return by_name.get(name, _BY_TYPE[schema.get("type", "string")])
