"""Reads the files of `tests/corpus/agents`: what coding agents send. The format is described in the README beside this
file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "agents"

_AGENT_KEYS = {"agent", "about", "source", "refused_by", "headers", "body", "requests"}
_REQUEST_KEYS = {"about", "method", "path", "headers", "body"}


@dataclass(frozen=True)
class AgentRequest:
    """One request, as it was sent. `refused_by`: the formats of the providers that cannot do it, each with the word by
    which the error must name what they cannot do.
    """

    file: str
    agent: str
    about: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None
    refused_by: Mapping[str, str]

    @property
    def api(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]

    @property
    def title(self) -> str:
        """The file and the request, for the name of a test."""
        return f"{self.file}: {self.about}"


def read_agent(path: Path) -> list[AgentRequest]:
    """Returns the requests of a file in their order. Raises ValueError for an unknown or missing key."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    _check_keys(path.name, fields, _AGENT_KEYS, _AGENT_KEYS - {"refused_by"})
    return [_request(path.name, fields, one) for one in fields["requests"]]


def requests_to(path: str) -> list[AgentRequest]:
    """Returns the requests of all agents to a path such as `/v1/messages`, whatever its query."""
    found = [one for file in sorted(FOLDER.glob("*.json")) for one in read_agent(file)]
    return [one for one in found if one.api == path]


def _request(file: str, fields: Mapping[str, Any], one: Mapping[str, Any]) -> AgentRequest:
    _check_keys(file, one, _REQUEST_KEYS, {"about", "method", "path"})
    is_post = one["method"] == "POST"
    return AgentRequest(
        file=file.removesuffix(".json"),
        agent=fields["agent"],
        about=one["about"],
        method=one["method"],
        path=one["path"],
        headers={**(fields["headers"] if is_post else {}), **one.get("headers", {})},
        body={**fields["body"], **one.get("body", {})} if is_post else None,
        refused_by=fields.get("refused_by", {}),
    )


def _check_keys(file: str, fields: Mapping[str, Any], known: set[str], required: set[str]) -> None:
    unknown, missing = fields.keys() - known, required - fields.keys()
    if unknown or missing:
        raise ValueError(f"{file}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
