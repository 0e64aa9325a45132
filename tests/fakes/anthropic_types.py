"""Compares a request with the types of Anthropic's own client, which pydantic would only check in parts: it reads an
`Iterable` later, and ignores unknown fields.
"""

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union

from typing_extensions import get_type_hints, is_typeddict

_WRAPPERS = {typing.Annotated, typing.Required, typing.NotRequired}


def faults(value: object, expected: Any, path: str = "request") -> Iterator[str]:
    """Yields what does not match the type, with its path."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in _WRAPPERS:
        yield from faults(value, arguments[0], path)
    elif origin in {Union, types.UnionType}:
        found = [list(faults(value, one, path)) for one in arguments]
        if all(found):
            yield from min(found, key=lambda one: (len(one), -max(map(len, one))))
    elif origin is Literal:
        if value not in arguments:
            yield f"{path}: {value!r} is none of {arguments}"
    elif is_typeddict(expected):
        yield from _faults_of_object(value, expected, path)
    elif arguments and origin is not dict:
        yield from _faults_of_list(value, arguments[0], path)
    elif not _is_instance(value, origin or expected):
        yield f"{path}: {value!r} is no {expected}"


def _faults_of_list(value: object, expected: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: {value!r} is no list"
        return
    for i, item in enumerate(value):
        yield from faults(item, expected, f"{path}[{i}]")


def _faults_of_object(value: object, expected: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path}: {value!r} is no object"
        return
    hints = get_type_hints(expected, include_extras=True)
    origins: dict[str, Any] = {name: typing.get_origin(hint) for name, hint in hints.items()}
    required = {name for name, origin in origins.items() if origin is typing.Required}
    yield from (f"{path}.{name}: unknown" for name in value.keys() - hints.keys())
    yield from (f"{path}.{name}: missing" for name in required - value.keys())
    for name in value.keys() & hints.keys():
        yield from faults(value[name], hints[name], f"{path}.{name}")


def _is_instance(value: object, expected: Any) -> bool:
    if expected is object or expected is Any:
        return True
    if expected in {int, float} and isinstance(value, bool):
        return False
    return isinstance(expected, type) and isinstance(value, (int, float) if expected is float else expected)
