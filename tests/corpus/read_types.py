"""Checks what a caller reads: the places in an answer, and the types that the caller's parser takes there.

A place is a path of names and of `[]` (each element) or `[0]` (one). A type is `text` (a text that is not empty),
`string`, `bool`, `object`, `number`, `f32`, `f64`, `i32`, `i64`, `u32`, `[TYPE]` (a list with at least one), or
`=VALUE`; with `?` at its end the value may be null or missing.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_MISSING = object()
_STEP = re.compile(r"\[(\d*)\]|([^.\[\]]+)")
_INTEGERS = {"i32": (-(2**31), 2**31 - 1), "i64": (-(2**63), 2**63 - 1), "u32": (0, 2**32 - 1)}
_CLASSES: Mapping[str, type] = {"string": str, "bool": bool, "object": dict}


def unreadable(answer: Any, reads: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each place whose value the caller does not take."""
    return [
        f"{place} is {'missing' if value is _MISSING else repr(value)[:80]}, not {kind}"
        for place, kind in reads.items()
        for value in values_at(answer, place)
        if not _is_readable(value, kind)
    ]


def values_at(answer: Any, place: str) -> Iterator[Any]:
    """Yields the values at a place: one, or one for each element where the place has `[]`."""
    values = [answer]
    for index, name in _STEP.findall(place):
        values = [one for value in values for one in _step(value, index, name)]
    yield from values


def _step(value: Any, index: str, name: str) -> list[Any]:
    if name:
        return [value.get(name, _MISSING) if isinstance(value, dict) else _MISSING]
    if not isinstance(value, list) or not value:
        return [_MISSING]
    return [value[int(index)]] if index else value


def _is_readable(value: Any, kind: str) -> bool:
    if kind.endswith("?"):
        return value is None or value is _MISSING or _is_readable(value, kind[:-1])
    if kind.startswith("="):
        return str(value) == kind[1:]
    if kind.startswith("["):
        return isinstance(value, list) and bool(value) and all(_is_readable(one, kind[1:-1]) for one in value)
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        return type(value) is int and low <= value <= high
    if kind in {"number", "f32", "f64"}:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "text":
        return isinstance(value, str) and bool(value.strip())
    return isinstance(value, _CLASSES[kind])
