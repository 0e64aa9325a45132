"""References inside the file's strings: `${VAR}`, `${VAR:-default}`, `${ssm:/path}`, `${secretsmanager:name#json_key}`.

A default may hold references itself, as in `${OPENAI_API_KEY:-${ssm:/sekha/openai}}`. `$${` stands for a literal `${`.
This module only reads the notation; `resolution` gives it values.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Store: TypeAlias = Literal["ssm", "secretsmanager"]

_TOKEN = re.compile(r"\$\$\{|\$\{|\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\}|:-)")
_REMOTE = re.compile(r"(ssm|secretsmanager):([^${}]*)\}")
_REMOTE_NAMES = {"ssm": re.compile(r"[\w.\-/:]+", re.ASCII), "secretsmanager": re.compile(r"[\w/+=.@:\-]+", re.ASCII)}


class MalformedReference(ValueError):
    """The text after a `${` is no reference. The message doesn't quote it: it may be part of a password."""


@dataclass(frozen=True, slots=True)
class Variable:
    """`${VAR}` or `${VAR:-default}`."""

    name: str
    default: "Template | None" = None

    def __str__(self) -> str:
        return f"${{{self.name}}}"


@dataclass(frozen=True, slots=True)
class Remote:
    """A value kept in AWS: a parameter of SSM, or a secret (one `key` of it, when it is JSON)."""

    store: Store
    name: str
    key: str | None = None

    def __str__(self) -> str:
        return f"${{{self.store}:{self.name}{'' if self.key is None else f'#{self.key}'}}}"


Piece: TypeAlias = str | Variable | Remote
Template: TypeAlias = tuple[Piece, ...]


def parse(text: str) -> Template:
    """The pieces of `text`, in order. Raises `MalformedReference`."""
    pieces, _ = _pieces(text, 0, nested=False)
    return pieces


def escape(text: str) -> str:
    """The notation for `text` itself."""
    return text.replace("${", "$${")


def _pieces(text: str, start: int, *, nested: bool) -> tuple[Template, int]:
    """The pieces from `start` to the end, or to the `}` that closes the default they are; and where they end."""
    pieces: list[Piece] = []
    while token := _TOKEN.search(text, start):
        if literal := text[start : token.start()]:
            pieces.append(literal)
        start = token.end()
        if token[0] == "${":
            piece, start = _reference(text, start)
            pieces.append(piece)
        elif nested and token[0] == "}":
            return tuple(pieces), start
        else:
            pieces.append(token[0].removeprefix("$"))
    if nested:
        raise MalformedReference("a reference is not closed: add the `}`")
    return (*pieces, text[start:]) if text[start:] else tuple(pieces), len(text)


def _reference(text: str, start: int) -> tuple[Variable | Remote, int]:
    """The reference whose `${` ends at `start`, and where it ends."""
    if remote := _REMOTE.match(text, start):
        return _remote(remote), remote.end()
    variable = _VARIABLE.match(text, start)
    if variable is None:
        raise MalformedReference(_malformed(text, start))
    if variable[2] == "}":
        return Variable(variable[1]), variable.end()
    default, end = _pieces(text, variable.end(), nested=True)
    return Variable(variable[1], default), end


def _remote(match: re.Match[str]) -> Remote:
    store: Store = "ssm" if match[1] == "ssm" else "secretsmanager"
    name, hash_sign, key = match[2].partition("#") if store == "secretsmanager" else (match[2], "", "")
    if ":-" in match[2]:
        raise MalformedReference(f"only a variable can have a default: write ${{VAR:-${{{store}:…}}}}")
    if not _REMOTE_NAMES[store].fullmatch(name) or (hash_sign and not key):
        form = "${ssm:/path}" if store == "ssm" else "${secretsmanager:name} or ${secretsmanager:name#json_key}"
        raise MalformedReference(f"a malformed reference: write {form}")
    return Remote(store, name, key if hash_sign else None)


def _malformed(text: str, start: int) -> str:
    if "}" not in text[start:]:
        return "a reference is not closed: add the `}`, or write `$${` for a literal `${`"
    return (
        "a malformed reference: write ${VAR}, ${VAR:-default}, ${ssm:/path} or ${secretsmanager:name#json_key},"
        " or `$${` for a literal `${`"
    )
