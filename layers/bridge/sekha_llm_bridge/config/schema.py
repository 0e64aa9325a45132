"""Generates the JSON Schema of `llm_providers.yaml` from the models. Editors use it to complete and check the file.

`python -m sekha_llm_bridge.config.schema > config/llm_providers.schema.json` updates the committed schema.
"""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sekha_llm_bridge.config.models import ConfigFile, null_to_empty
from sekha_llm_bridge.config.vocabulary import ProviderType

_REFERENCE = r"\$\{"

# Rules that the models check in validators, which pydantic does not include in the schema.
_TASK_OR_TASKS: JsonSchemaValue = {"oneOf": [{"required": ["task"]}, {"required": ["tasks"]}]}
_NEEDS_DIMENSION: JsonSchemaValue = {
    "if": {
        "anyOf": [
            {"required": ["task"], "properties": {"task": {"const": "embedding"}}},
            {"required": ["tasks"], "properties": {"tasks": {"contains": {"const": "embedding"}}}},
        ]
    },
    "then": {"required": ["dimension"]},
}
_NEEDS_BASE_URL: JsonSchemaValue = {
    "if": {"required": ["provider_type"], "properties": {"provider_type": {"const": "azure_openai"}}},
    "then": {"required": ["base_url"]},
}
_AUTO: JsonSchemaValue = {"const": "auto"}
_HAS_AUTO: JsonSchemaValue = {"anyOf": [_AUTO, {"type": "array", "contains": _AUTO}]}
_AUTO_NEEDS_OLLAMA: JsonSchemaValue = {
    "if": {
        "required": ["provider_type"],
        "properties": {
            "provider_type": {"enum": [one.value for one in ProviderType if one is not ProviderType.OLLAMA]}
        },
    },
    "then": {"properties": {"models": {"not": _HAS_AUTO}}},
}


def config_schema() -> JsonSchemaValue:
    """Returns the schema in draft 2020-12."""
    schema: JsonSchemaValue = _without_pydantic_extras(
        ConfigFile.model_json_schema(schema_generator=_SchemaWithReferences)
    )
    schema["$defs"]["ModelConfig"] |= _TASK_OR_TASKS | _NEEDS_DIMENSION
    schema["$defs"]["ProviderConfig"]["allOf"] = [_NEEDS_BASE_URL, _AUTO_NEEDS_OLLAMA]
    properties = schema["$defs"]["ProviderConfig"]["properties"]
    properties["models"] = _with_auto(properties["models"])
    schema["properties"]["version"]["type"] = ["string", "number"]  # 2.0 without quotes is a number
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "Sekha LLM Bridge: providers", **schema}


def _with_auto(models: JsonSchemaValue) -> JsonSchemaValue:
    """Returns the schema of `models` that takes `auto` as well. It has conditions instead of alternatives, so that a
    fault is found where it is, and not in the whole list.
    """
    description, items = models.pop("description"), models["items"]
    listed = {**models, "items": {"if": {"type": "string"}, "then": _AUTO, "else": items}}
    return {"description": description, "if": {"type": "string"}, "then": _AUTO, "else": listed}


def schema_text() -> str:
    """Returns the text of the schema file."""
    return json.dumps(config_schema(), indent=2) + "\n"


class _SchemaWithReferences(GenerateJsonSchema):
    """Allows a reference in place of each value that is not free text, so that editors accept it."""

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return _or_reference(super().int_schema(schema))

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return _or_reference(super().float_schema(schema))

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return _or_reference(super().bool_schema(schema))

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        return _or_reference(super().enum_schema(schema))

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        return _or_reference({"type": "number", "minimum": schema["ge"]})

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        generated = super().str_schema(schema)
        return generated | {"pattern": f"{generated['pattern']}|{_REFERENCE}"} if "pattern" in generated else generated

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        return {"anyOf": [inner, {"type": "null"}]} if schema["function"]["function"] is null_to_empty else inner


def _or_reference(value: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [value, {"type": "string", "pattern": _REFERENCE}]}


def _without_pydantic_extras(schema: Any) -> Any:
    """Returns the schema without pydantic's titles, which repeat the keys, and without its marks for passwords."""
    if isinstance(schema, list):
        return [_without_pydantic_extras(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    removed = {"title": str, "format": str, "writeOnly": bool}
    return {
        key: _without_pydantic_extras(value)
        for key, value in schema.items()
        if not isinstance(value, removed.get(key, ()))
    }


if __name__ == "__main__":
    sys.stdout.write(schema_text())
