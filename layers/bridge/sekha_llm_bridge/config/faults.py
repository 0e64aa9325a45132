"""Faults of the file, in plain sentences: what is wrong, the value, the remedy.

A value is always shown as the file has it, never with its references resolved, and a credential is not shown at all.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, get_args

from pydantic import SecretStr
from pydantic_core import ErrorDetails

from sekha_llm_bridge.config.endpoints import mask_user_info
from sekha_llm_bridge.config.models import (
    COLLECTION_PATTERN,
    HEADER_PATTERN,
    ID_PATTERN,
    VERSION_PATTERN,
    ConfigFile,
    Section,
)

Place: TypeAlias = tuple[str | int, ...]

_LONGEST_SHOWN = 60
_LONGEST_LIST = 16

_PATTERNS = {
    ID_PATTERN: "may hold only a-z, 0-9, - and _",
    VERSION_PATTERN: 'must be 2.x, as in "2.0"',
    COLLECTION_PATTERN: "must be a collection's name: letters, digits, dots, - and _, starting with a letter or digit",
    HEADER_PATTERN: "must be the name of an HTTP header",
}

_SENTENCES = {
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

_KINDS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "decimal": "must be a number",
    "bool": "must be true or false",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong at `place`. `line` only where the place does not give it away."""

    place: Place
    message: str
    line: int | None = None


def place_text(place: Place) -> str:
    """Such as `providers[0].models[2].task`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def validation_fault(error: ErrorDetails, place: Place, written: object) -> Fault:
    """One of pydantic's errors in our words; `written` is the value that the file has at `place`."""
    if error["type"] == "extra_forbidden":
        return Fault(place, _unknown_key(str(place[-1]), section_at(place[:-1])))
    if error["type"] == "missing" and written is not None:
        return Fault(place, f"must not be empty, {shown(written)}")
    sentence = _sentence(error)
    if error["type"] in {"missing", "value_error"} or is_secret(place):
        return Fault(place, sentence)
    return Fault(place, f"{sentence}, {shown(written)}{_nearest_choice(error, written)}")


def shown(written: object) -> str:
    """A clause that tells the value as it is written."""
    match written:
        case None:
            return "is null"
        case dict():
            return "is a mapping"
        case list():
            return "is a list"
        case "":
            return "is empty"
    text = mask_user_info(str(written))
    if "${" in text:
        return f"is the value of {text}"
    return f"is {text}" if len(text) <= _LONGEST_SHOWN else f"is {text[:_LONGEST_SHOWN]}…"


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A clause that names the nearest valid one, or what is possible when none is near."""
    names = list(valid)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    near = near or [longer for longer in names if name.lower() in longer.split("_")]  # `url` for `base_url`
    return f"did you mean `{near[0]}`?" if near else listed(names)


def listed(valid: Iterable[str]) -> str:
    """A clause with the valid names, the first of them when they are many."""
    names = sorted(valid)
    return f"possible here: {', '.join(names[:_LONGEST_LIST])}{' …' if len(names) > _LONGEST_LIST else ''}"


def section_at(place: Place) -> type[Section]:
    """The model of the section at `place`."""
    section: type[Section] = ConfigFile
    for step in place:
        if isinstance(step, str) and step in section.model_fields:
            section = _section_in(section.model_fields[step].annotation) or section
    return section


def is_secret(place: Place) -> bool:
    """Whether the value at `place` is a credential; an unknown key may be a misspelt one."""
    section: type[Section] | None = ConfigFile
    for step in place:
        if isinstance(step, int) or section is None:
            continue
        known = section.model_fields.get(step)
        if known is None or _mentions(known.annotation, SecretStr):
            return True
        section = _section_in(known.annotation)
    return False


def _unknown_key(key: str, section: type[Section]) -> str:
    return f"unknown key `{key}`; {did_you_mean(key, section.model_fields)}"


def _sentence(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
    number = re.match(r"(int|float|decimal|bool)_(type|parsing|from)", kind)
    if number:
        return _KINDS[number[1]]
    known = _SENTENCES.get(kind)
    return known.format_map(context) if known else error["msg"][:1].lower() + error["msg"][1:]


def _nearest_choice(error: ErrorDetails, written: object) -> str:
    if error["type"] != "enum" or not isinstance(written, str):
        return ""
    choices = re.findall(r"'([^']+)'", error["ctx"]["expected"])
    near = difflib.get_close_matches(written.lower(), choices, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _section_in(annotation: object) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _section_in(argument))), None)


def _mentions(annotation: object, wanted: object) -> bool:
    return annotation is wanted or any(_mentions(argument, wanted) for argument in get_args(annotation))
