"""Writes the tables of `config/README.md`: every key of the configuration file, with type, default and meaning.

    .local/envs/bridge/bin/python infra/build/configuration_table.py

They come from the models in `config/models.py`, by their JSON Schema.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "layers" / "bridge"))

from page_sections import table, with_section  # noqa: E402 — needs the path that is set above
from sekha_llm_bridge.config.models import ConfigFile  # noqa: E402 — as above

DOCUMENT = ROOT / "config" / "README.md"
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}

Schema = Mapping[str, Any]


def main() -> None:
    """Writes the tables into the document."""
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """Returns the document with tables that are made anew. Raises ValueError where it has no markers for them."""
    return with_section(text, "keys", "\n".join(f"### {title}\n\n{rows}" for title, rows in sections().items()))


def sections() -> dict[str, str]:
    """Returns the table of each section of the file, by its heading, in the order of the file."""
    schema = ConfigFile.model_json_schema()
    return {title: table(("key", "type", "default", "meaning"), rows) for title, rows in _rows(schema)}


def _rows(schema: Schema) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    waiting = [("The file", "", schema)]
    while waiting:
        title, prefix, section = waiting.pop(0)
        yield title, [_row(name, field, section, schema) for name, field in section["properties"].items()]
        inner = [
            (f"`{prefix}{name}{_suffix(field)}`", f"{prefix}{name}{_suffix(field)}.", schema["$defs"][found])
            for name, field in section["properties"].items()
            if (found := _section_of(field, schema)) is not None
        ]
        waiting = [*inner, *waiting]


def _row(name: str, field: Schema, section: Schema, schema: Schema) -> tuple[str, ...]:
    is_required = name in section.get("required", ())
    default = "required" if is_required else _default(field)
    inner = schema["$defs"].get(_section_of(field, schema), {})
    meaning = field.get("description") or inner.get("description", "")
    return f"`{name}`", _type(field), default, meaning.replace("|", "\\|")


def _default(field: Schema) -> str:
    value = field.get("default")
    if value is None or value in ([], {}, "") or isinstance(value, dict):
        return "–"
    return f"`{json.dumps(value)}`"


def _type(field: Schema) -> str:
    alternatives = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    if all(one.get("type") in {"number", "string"} for one in alternatives) and len(alternatives) > 1:
        return "number" if any(one["type"] == "number" for one in alternatives) else "text"  # a decimal, also as text
    return " or ".join(dict.fromkeys(_single_type(one) for one in alternatives))


def _single_type(field: Schema) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return _TYPES_OF_ENUMS.get(_definition(field), "section")
    if field.get("type") == "array":
        return f"list of {_single_type(field.get('items', {}))}"
    if field.get("type") == "object":
        return "names with values"
    return _TYPES.get(field.get("type", ""), "text")


def _enums() -> dict[str, str]:
    definitions = ConfigFile.model_json_schema()["$defs"]
    return {
        name: ", ".join(f"`{value}`" for value in one["enum"]) for name, one in definitions.items() if "enum" in one
    }


def _section_of(field: Schema, schema: Schema) -> str | None:
    """Returns the name of the definition of a section that is the field's value, or of each entry of its list."""
    inner = [field, *field.get("anyOf", ()), field.get("items", {})]
    found = [_definition(one) for one in inner if "$ref" in one]
    return next((name for name in found if "properties" in schema["$defs"][name]), None)


def _suffix(field: Schema) -> str:
    return "[]" if field.get("type") == "array" else ""


def _definition(field: Schema) -> str:
    return str(field["$ref"]).rpartition("/")[2]


_TYPES_OF_ENUMS = _enums()


if __name__ == "__main__":
    main()
