"""Reads the cases of `tests/corpus/providers`. The format is described in the README beside this file."""

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.provider import Reply

FOLDER = Path(__file__).parent / "providers"

_KEYS = {"about", "source", "provider", "endpoint", "mode", "request", "encoding", "repeat", "expect", "alone"}
_REPEATED = b"{{repeated}}"
_EXPECTED = {
    *("answered_by", "code", "attempts", "requests", "breaker", "content", "reasoning", "tool_calls", "finish_reason"),
    *("usage", "cost_in_micro_usd", "error", "message", "sent", "vectors", "notes"),
}
_ALONE = {"status", "error", "param", "message", "retry_after"}


@dataclass(frozen=True)
class Case:
    """One file: the request, the replies of the first provider in order, and what is expected."""

    name: str
    provider: Mapping[str, Any]
    endpoint: str
    modes: tuple[str, ...]
    request: Mapping[str, Any]
    replies: tuple[Reply, ...]
    expect: Mapping[str, Any]
    alone: Mapping[str, Any] | None


def read_case(path: Path) -> Case:
    """Returns the case of a file. Raises ValueError for an unknown key, so that no expectation is lost to a typo."""
    head, _, rest = path.read_bytes().partition(b"\n---\n")
    fields = yaml.safe_load(head)
    expect, alone = fields.get("expect") or {}, fields.get("alone")
    unknown = (fields.keys() - _KEYS) | (expect.keys() - _EXPECTED) | ((alone or {}).keys() - _ALONE)
    if unknown or not fields.get("about"):
        raise ValueError(f"{path.name}: unknown keys {sorted(unknown)}, or no `about`")
    provider = fields.get("provider") or "openai"
    endpoint, mode = fields.get("endpoint", "chat"), fields.get("mode", "both")
    modes = ("whole", "stream") if mode == "both" and endpoint == "chat" else ("whole" if mode == "both" else mode,)
    return Case(
        name=path.stem,
        provider={"provider_type": provider} if isinstance(provider, str) else provider,
        endpoint=endpoint,
        modes=modes,
        request=fields.get("request") or {},
        replies=tuple(reply_of(block, fields) for block in rest.split(b"\n--- next\n")),
        expect=expect,
        alone=alone,
    )


def all_cases() -> list[Case]:
    """Returns every case, by file name."""
    return [read_case(path) for path in sorted(FOLDER.glob("*.http"))]


def reply_of(block: bytes, fields: Mapping[str, Any]) -> Reply:
    """Returns the reply of a block: its status line, headers, an empty line and the body."""
    head, _, body = block.partition(b"\n\n")
    encoding = fields.get("encoding")
    status, *lines = head.decode().splitlines()
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = body.removesuffix(b"\n")
    if repeat := fields.get("repeat"):
        body = body.replace(_REPEATED, repeat["text"].encode() * repeat["times"])
    if encoding == "base64":
        body = base64.b64decode(body)
    if encoding == "gzip":
        body, headers["content-encoding"] = gzip.compress(body), "gzip"
    return Reply(int(status.split()[1]), raw=body, headers=headers)
