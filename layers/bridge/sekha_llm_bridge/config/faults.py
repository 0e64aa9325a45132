"""The messages for faults of the file: what is wrong, the value, and how to correct it.

A message shows a value as it is written in the file, never with its references resolved. It never shows a credential.
"""

import re
from collections.abc import Iterable
from typing import get_args

from pydantic import SecretStr
from pydantic_core import ErrorDetails

from sekha_llm_bridge.config.endpoints import mask_user_info
from sekha_llm_bridge.config.fault import Fault, KeyPath
from sekha_llm_bridge.config.models import (
    COLLECTION_PATTERN,
    HEADER_PATTERN,
    ID_PATTERN,
    PATH_PATTERN,
    VERSION_PATTERN,
    ConfigFile,
    Section,
)

_MAX_VALUE_CHARS = 60
_MAX_LISTED_NAMES = 16

_PATTERN_MESSAGES = {
    ID_PATTERN: "may hold only a-z, 0-9, - and _",
    VERSION_PATTERN: 'must be 2.x, as in "2.0"',
    COLLECTION_PATTERN: "must be a collection's name: letters, digits, dots, - and _, starting with a letter or digit",
    HEADER_PATTERN: "must be the name of an HTTP header",
    PATH_PATTERN: "must be a path from the root of the server, such as /api/2.0/serving-endpoints",
}

_MESSAGES = {
    "missing": "is missing",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "needs at least one entry",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "enum": "must be one of {expected}",
    "value_error": "{error}",
}

_TYPE_MESSAGES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "decimal": "must be a number",
    "bool": "must be true or false",
}


def format_key_path(key_path: KeyPath) -> str:
    """Returns the key path as text, for example `providers[0].models[2].task`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in key_path).removeprefix(".")


def fault_from_pydantic(error: ErrorDetails, key_path: KeyPath, raw_value: object) -> Fault:
    """Returns the fault for an error of pydantic. `raw_value` is the value that the file has at `key_path`."""
    if error["type"] == "extra_forbidden":
        key, valid_keys = str(key_path[-1]), section_model_at(key_path[:-1]).model_fields
        return Fault(key_path, f"unknown key `{key}`; {suggest_name(key, valid_keys)}")
    if error["type"] == "missing" and raw_value is not None:
        return Fault(key_path, f"must not be empty, {describe_value(raw_value)}")
    message = _message(error)
    if error["type"] in {"missing", "value_error"} or is_secret(key_path):
        return Fault(key_path, message)
    return Fault(key_path, f"{message}, {describe_value(raw_value)}{_nearest_choice_hint(error, raw_value)}")


def describe_value(raw_value: object) -> str:
    """Returns a clause that shows the value as it is written in the file, shortened to 60 characters."""
    match raw_value:
        case None:
            return "is null"
        case dict():
            return "is a mapping"
        case list():
            return "is a list"
        case "":
            return "is empty"
    text = mask_user_info(str(raw_value))
    if "${" in text:
        return f"is the value of {text}"
    return f"is {text}" if len(text) <= _MAX_VALUE_CHARS else f"is {text[:_MAX_VALUE_CHARS]}…"


def suggest_name(name: str, valid: Iterable[str]) -> str:
    """Returns a clause with the valid name most similar to `name`, or with the valid names when none is similar."""
    names = list(valid)
    near = _most_similar(name, names)
    near = near or [longer for longer in names if name.lower() in longer.split("_")]  # finds `base_url` for `url`
    return f"did you mean `{near[0]}`?" if near else list_names(names)


def _most_similar(name: str, valid: list[str]) -> list[str]:
    import difflib  # only a file with faults needs it, and every function loads the file at its start

    return difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.6)


def list_names(valid: Iterable[str]) -> str:
    """Returns a clause with the first 16 valid names."""
    names = sorted(valid)
    return f"possible here: {', '.join(names[:_MAX_LISTED_NAMES])}{' …' if len(names) > _MAX_LISTED_NAMES else ''}"


def section_model_at(key_path: KeyPath) -> type[Section]:
    """Returns the model of the section at `key_path`."""
    section: type[Section] = ConfigFile
    for step in key_path:
        if isinstance(step, str) and step in section.model_fields:
            section = _section_model_in(section.model_fields[step].annotation) or section
    return section


def is_secret(key_path: KeyPath) -> bool:
    """Returns whether the value at `key_path` may be a credential. An unknown key may be a misspelled credential."""
    section: type[Section] | None = ConfigFile
    for step in key_path:
        if isinstance(step, int) or section is None:
            continue
        known = section.model_fields.get(step)
        if known is None or _contains_type(known.annotation, SecretStr):
            return True
        section = _section_model_in(known.annotation)
    return False


def _message(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _PATTERN_MESSAGES.get(context["pattern"], f"must match {context['pattern']}")
    number = re.match(r"(int|float|decimal|bool)_(type|parsing|from)", kind)
    if number:
        return _TYPE_MESSAGES[number[1]]
    known = _MESSAGES.get(kind)
    return known.format_map(context) if known else error["msg"][:1].lower() + error["msg"][1:]


def _nearest_choice_hint(error: ErrorDetails, raw_value: object) -> str:
    if error["type"] != "enum" or not isinstance(raw_value, str):
        return ""
    choices = re.findall(r"'([^']+)'", error["ctx"]["expected"])
    near = _most_similar(raw_value, choices)
    return f"; did you mean `{near[0]}`?" if near else ""


def _section_model_in(annotation: object) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _section_model_in(argument))), None)


def _contains_type(annotation: object, wanted: object) -> bool:
    return annotation is wanted or any(_contains_type(argument, wanted) for argument in get_args(annotation))
