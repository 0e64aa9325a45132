"""Replaces references to variables, as bash and Docker Compose do in a `.env` and in a compose file.

Forms: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}`, `${NAME+other}`, `${NAME:?message}`,
`${NAME?message}`, and `$$` for a dollar. Source: Docker's documentation, "Set, use, and manage variables in a Compose
file with interpolation".

The result is a text of the bridge's own YAML: a variable without a value stays a reference, because the bridge has the
same ones, and a literal `${` is escaped.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sekha_llm_bridge.config.references import escape

Lookup = Callable[[str], str | None]

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(rf"\$\$|\$(?P<plain>{_NAME})|\$\{{(?P<name>{_NAME})(?P<operator>:?[-+?])?")
_PURE = re.compile(rf"\$(?:({_NAME})|\{{({_NAME})(?::?[-?][^}}]*)?\}})")
_MAX_DEPTH = (
    10  # stops at a variable that refers to itself: a default may contain references; so may the value of a variable
)


@dataclass(frozen=True, slots=True)
class Interpolated:
    """`text` has the bridge's own syntax. `unset`: the variables that stay references."""

    text: str
    unset: tuple[str, ...] = ()


def literal(text: str) -> Interpolated:
    """Returns a text in which a dollar has no meaning."""
    return Interpolated(escape(text))


def interpolate(text: str, lookup: Lookup) -> Interpolated:
    """Returns `text` with its references replaced. `lookup` returns the raw value of a variable, None if unset."""
    parts, unset = _replace(text, lookup, 0)
    return Interpolated(parts, tuple(dict.fromkeys(unset)))


def referenced_name(text: str) -> str | None:
    """Returns the variable if `text` is only a reference to it, with or without a default."""
    match = _PURE.fullmatch(text.strip())
    return (match[1] or match[2]) if match else None


def _replace(text: str, lookup: Lookup, depth: int) -> tuple[str, list[str]]:
    done: list[str] = []
    unset: list[str] = []
    position = 0
    while depth < _MAX_DEPTH and (token := _TOKEN.search(text, position)):
        done.append(escape(text[position : token.start()]))
        value, missing, position = _value_of(token, text, lookup, depth)
        done.append(value)
        unset += missing
    return "".join([*done, escape(text[position:])]), unset


def _value_of(token: re.Match[str], text: str, lookup: Lookup, depth: int) -> tuple[str, list[str], int]:
    """Returns the value of the token, the variables in it without a value, and the position after it."""
    if token[0] == "$$":
        return "$", [], token.end()
    if name := token["plain"]:
        return *_variable(name, lookup, depth), token.end()
    end = _closing_brace(text, token.end())
    if end is None:
        return escape(token[0]), [], token.end()
    value, unset = _braced(token["name"], token["operator"], text[token.end() : end], lookup, depth)
    return value, unset, end + 1


def _braced(name: str, operator: str | None, rest: str, lookup: Lookup, depth: int) -> tuple[str, list[str]]:
    if operator is None:
        return (escape(f"${{{name}{rest}}}"), []) if rest else _variable(name, lookup, depth)
    value = lookup(name)
    is_given = bool(value) if operator.startswith(":") else value is not None
    match operator[-1]:
        case "-" if not is_given:
            return _replace(rest, lookup, depth + 1)
        case "+":
            return _replace(rest, lookup, depth + 1) if is_given else ("", [])
    return _variable(name, lookup, depth)


def _variable(name: str, lookup: Lookup, depth: int) -> tuple[str, list[str]]:
    value = lookup(name)
    return (f"${{{name}}}", [name]) if value is None else _replace(value, lookup, depth + 1)


def _closing_brace(text: str, start: int) -> int | None:
    """Returns the position of the brace that closes the reference whose inside begins at `start`."""
    depth = 1
    for position in range(start, len(text)):
        if text[position] == "{" and text[position - 1] == "$":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
    return None
