"""Reads the cases of `tests/corpus/inbound`. The format is described in the README beside this file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.corpus.cases import reply_of
from tests.fakes.provider import Reply

FOLDER = Path(__file__).parent / "inbound"
FORMATS = ("openai", "anthropic", "ollama", "bedrock")
APIS = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "ollama": "/api/chat",
}

_KEYS = {
    "about",
    "source",
    "api",
    "method",
    "path",
    "mode",
    "providers",
    "headers",
    "request",
    "encoding",
    "repeat",
    "expect",
}
_EXPECTED = {
    *("status", "message", "error", "text", "reasoning", "calls", "answer", "events", "absent", "requests", "sent"),
    "notes",
}


@dataclass(frozen=True)
class InboundCase:
    """One file: a request of a client over providers of these formats, and what is expected. `replies` are those of the
    provider, in its format; without them it answers by itself.
    """

    name: str
    api: str
    method: str
    path: str
    modes: tuple[str, ...]
    formats: tuple[str, ...]
    headers: Mapping[str, str]
    request: Mapping[str, Any]
    replies: tuple[Reply, ...]
    expect: Mapping[str, Any]


def read_inbound_case(path: Path) -> InboundCase:
    """Returns the case of a file. Raises ValueError for what the format does not have, so that no expectation is lost
    to a typo.
    """
    head, _, rest = path.read_bytes().partition(b"\n---\n")
    fields = yaml.safe_load(head)
    expect, formats = fields.get("expect") or {}, tuple(fields.get("providers") or FORMATS[:3])
    unknown = (fields.keys() - _KEYS) | (expect.keys() - _EXPECTED) | (set(formats) - set(FORMATS))
    missing = {"about", "source", "api", "expect"} - fields.keys()
    if unknown or missing or (rest and len(formats) != 1):
        raise ValueError(
            f"{path.name}: unknown {sorted(unknown)}, missing {sorted(missing)}, or replies of two formats"
        )
    mode = fields.get("mode", "both")
    return InboundCase(
        name=path.stem,
        api=fields["api"],
        method=fields.get("method", "POST"),
        path=fields.get("path") or APIS[fields["api"]],
        modes=("whole", "stream") if mode == "both" else (mode,),
        formats=formats,
        headers=fields.get("headers") or {},
        request=fields.get("request") or {},
        replies=tuple(reply_of(block, fields) for block in rest.split(b"\n--- next\n")) if rest else (),
        expect=expect,
    )


def all_inbound_cases() -> list[InboundCase]:
    """Returns every case, by file name."""
    return [read_inbound_case(path) for path in sorted(FOLDER.glob("*.http"))]


def difference(expected: Any, found: Any, place: str = "") -> str | None:
    """Returns where `found` lacks something of `expected`, or None. A mapping may have further fields, a list has the
    same length, and null stands for an absent field, too.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return f"{place}: {found!r} is no object"
        pairs = [(f"{place}.{name}", value, found.get(name)) for name, value in expected.items()]
    elif isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return f"{place}: {found!r} is no list of {len(expected)}"
        pairs = [(f"{place}[{i}]", *pair) for i, pair in enumerate(zip(expected, found, strict=True))]
    else:
        is_equal = type(found) is type(expected) and found == expected
        return None if is_equal else f"{place}: {found!r} instead of {expected!r}"
    return next((one for where, value, other in pairs if (one := difference(value, other, where))), None)
