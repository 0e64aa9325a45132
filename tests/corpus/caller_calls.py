"""Reads the files of `tests/corpus/callers`: the calls of existing programs, and what they read from the answers. The
format is described in the README beside this file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "callers"

_CALLER_KEYS = {"caller", "about", "source", "headers", "follows_redirects", "calls"}
_CALL_KEYS = {"call", "about", "method", "path", "headers", "body", "status", "reads", "stream", "fails"}
_STREAM_KEYS = {"data_prefix", "text", "reads"}


@dataclass(frozen=True)
class CallerStream:
    """What a caller reads from a stream: the lines with `data_prefix`, each of them JSON with the types in `reads`."""

    data_prefix: str
    text: str
    reads: Mapping[str, str]


@dataclass(frozen=True)
class Call:
    """One call of a program. `fails`: why the caller cannot read the answer; empty where it can."""

    caller: str
    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    follows_redirects: bool
    body: Any
    status: int
    reads: Mapping[str, str]
    stream: CallerStream | None
    fails: str


@dataclass(frozen=True)
class Caller:
    """One program, with its calls in order."""

    name: str
    about: str
    source: str
    calls: tuple[Call, ...]


def read_caller(path: Path) -> Caller:
    """Returns the caller of a file. Raises ValueError for an unknown or missing key, so that no check is lost to a
    typo."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    _check_keys(path.name, fields, _CALLER_KEYS, {"caller", "about", "source", "calls"})
    return Caller(fields["caller"], fields["about"], fields["source"], tuple(_calls(path.name, fields)))


def all_callers() -> list[Caller]:
    """Returns every caller, by file name."""
    return [read_caller(path) for path in sorted(FOLDER.glob("*.json"))]


def _calls(file: str, fields: Mapping[str, Any]) -> list[Call]:
    calls = []
    for one in fields["calls"]:
        _check_keys(file, one, _CALL_KEYS, {"call", "method", "path"})
        if ("reads" in one) == ("stream" in one):
            raise ValueError(f"{file}: the call {one['call']} needs `reads` or `stream`")
        calls.append(_call(file, fields, one))
    return calls


def _call(file: str, fields: Mapping[str, Any], one: Mapping[str, Any]) -> Call:
    stream = one.get("stream")
    if stream is not None:
        _check_keys(file, stream, _STREAM_KEYS, _STREAM_KEYS)
    return Call(
        caller=fields["caller"],
        name=one["call"],
        method=one["method"],
        path=one["path"],
        headers={**fields.get("headers", {}), **one.get("headers", {})},
        follows_redirects=fields.get("follows_redirects", True),
        body=one.get("body"),
        status=one.get("status", 200),
        reads=one.get("reads", {}),
        stream=CallerStream(**stream) if stream else None,
        fails=one.get("fails", ""),
    )


def _check_keys(file: str, fields: Mapping[str, Any], known: set[str], required: set[str]) -> None:
    unknown, missing = fields.keys() - known, required - fields.keys()
    if unknown or missing:
        raise ValueError(f"{file}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
