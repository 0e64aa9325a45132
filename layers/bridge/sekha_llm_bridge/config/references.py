"""Parses references in strings: `${VAR}`, `${VAR:-default}`, `${ssm:/path}`, `${secretsmanager:name#json_key}`.

A default can contain references, for example `${OPENAI_API_KEY:-${ssm:/sekha/openai}}`. `$${` is a literal `${`.
The module `resolution` replaces references by values.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Store: TypeAlias = Literal["ssm", "secretsmanager"]

_TOKEN = re.compile(r"\$\$\{|\$\{|\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\}|:-)")
_AWS_REFERENCE = re.compile(r"(ssm|secretsmanager):([^${}]*)\}")
_AWS_NAMES = {"ssm": re.compile(r"[\w.\-/:]+", re.ASCII), "secretsmanager": re.compile(r"[\w/+=.@:\-]+", re.ASCII)}


class MalformedReference(ValueError):
    """The text after a `${` is not a reference. The message does not quote it, because it may be part of a password."""


@dataclass(frozen=True, slots=True)
class Variable:
    """`${VAR}` or `${VAR:-default}`."""

    name: str
    default: "Template | None" = None

    def __str__(self) -> str:
        return f"${{{self.name}}}"


@dataclass(frozen=True, slots=True)
class AwsReference:
    """A value stored in AWS: a parameter of SSM or a secret. `key` selects one value of a JSON secret."""

    store: Store
    name: str
    key: str | None = None

    def __str__(self) -> str:
        return f"${{{self.store}:{self.name}{'' if self.key is None else f'#{self.key}'}}}"


TemplatePart: TypeAlias = str | Variable | AwsReference
Template: TypeAlias = tuple[TemplatePart, ...]


def parse(text: str) -> Template:
    """Returns the literals and references of `text`, in order. Raises `MalformedReference`."""
    parts, _ = _parse_parts(text, 0, nested=False)
    return parts


def stored_reference(value: str) -> AwsReference | None:
    """Returns the reference that is the whole value of an environment variable; None where it is another text.

    So a variable can say where its value is stored. Raises `MalformedReference`.
    """
    if not value.strip().startswith(("${ssm:", "${secretsmanager:")):
        return None
    match parse(value.strip()):
        case (AwsReference() as reference,):
            return reference
    raise MalformedReference("a malformed reference: nothing may follow it")


def escape(text: str) -> str:
    """Returns a string whose value is `text`, also when `text` contains `${`."""
    return text.replace("${", "$${")


def _parse_parts(text: str, start: int, *, nested: bool) -> tuple[Template, int]:
    """Returns the parts from `start`, and the position after them.

    `nested`: the parts are a default value and end at its closing `}`; otherwise they end with the text.
    """
    parts: list[TemplatePart] = []
    while token := _TOKEN.search(text, start):
        if literal := text[start : token.start()]:
            parts.append(literal)
        start = token.end()
        if token[0] == "${":
            part, start = _parse_reference(text, start)
            parts.append(part)
        elif nested and token[0] == "}":
            return tuple(parts), start
        else:
            parts.append(token[0].removeprefix("$"))
    if nested:
        raise MalformedReference("a reference is not closed: add the `}`")
    return (*parts, text[start:]) if text[start:] else tuple(parts), len(text)


def _parse_reference(text: str, start: int) -> tuple[Variable | AwsReference, int]:
    """Returns the reference after the `${` that ends at `start`, and the position after it."""
    if match := _AWS_REFERENCE.match(text, start):
        return _parse_aws_reference(match), match.end()
    variable = _VARIABLE.match(text, start)
    if variable is None:
        raise MalformedReference(_malformed_message(text, start))
    if variable[2] == "}":
        return Variable(variable[1]), variable.end()
    default, end = _parse_parts(text, variable.end(), nested=True)
    return Variable(variable[1], default), end


def _parse_aws_reference(match: re.Match[str]) -> AwsReference:
    store: Store = "ssm" if match[1] == "ssm" else "secretsmanager"
    name, hash_sign, key = match[2].partition("#") if store == "secretsmanager" else (match[2], "", "")
    if ":-" in match[2]:
        raise MalformedReference(f"only a variable can have a default: write ${{VAR:-${{{store}:…}}}}")
    if not _AWS_NAMES[store].fullmatch(name) or (hash_sign and not key):
        form = "${ssm:/path}" if store == "ssm" else "${secretsmanager:name} or ${secretsmanager:name#json_key}"
        raise MalformedReference(f"a malformed reference: write {form}")
    return AwsReference(store, name, key if hash_sign else None)


def _malformed_message(text: str, start: int) -> str:
    if "}" not in text[start:]:
        return "a reference is not closed: add the `}`, or write `$${` for a literal `${`"
    return (
        "a malformed reference: write ${VAR}, ${VAR:-default}, ${ssm:/path} or ${secretsmanager:name#json_key},"
        " or `$${` for a literal `${`"
    )
