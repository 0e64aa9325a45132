"""The libraries, agents and programs of `libraries.yaml`: what they are told, and which of their calls are tried."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DOCUMENT = Path(__file__).with_name("libraries.yaml")
OTHER_FORMATS = ("claude", "qwen")
"""Models of the tests' stack whose providers have Anthropic's and Ollama's formats."""
_CALLS_OF_FORMATS = ("chat", "stream", "turns")


@dataclass(frozen=True)
class Library:
    """One row of the file. `environments` is empty for a library of npm; `api` is the API of the bridge that it asks."""

    name: str
    program: str
    calls: tuple[str, ...]
    address: str
    model: str
    setting: str
    environments: tuple[str, ...] = ()
    group: str = "libraries"
    api: str = "chat"

    def calls_with_models(self) -> list[str]:
        """Returns its calls, and `call@model` for calls that are also tried with providers of other formats. What asks
        chat completions is not: the tests of the adapters have that.
        """
        others = OTHER_FORMATS if self.api != "chat" else ()
        return [*self.calls, *(f"{call}@{model}" for model in others for call in _CALLS_OF_FORMATS)]


@dataclass(frozen=True)
class DocumentedProgram:
    """A program that is not run here. `source` is the documentation that the setting is from; `by_hand` is the version
    that was tried by hand, with scripted providers of each format.
    """

    name: str
    address: str
    model: str
    setting: str
    source: str = ""
    by_hand: str = ""


@dataclass(frozen=True)
class CodingAgent:
    """A coding agent. `runs` are the names of its runs in `coding_agents.py`, `requests` the names of the files with
    its recorded requests. `limit` is where the cost limit of its requests is set. `by_hand` is the version that has
    edited a file when it was tried by hand, with scripted providers of each format.
    """

    name: str
    package: str
    runs: tuple[str, ...]
    requests: tuple[str, ...]
    api: str
    address: str
    model: str
    limit: str
    setting: str
    by_hand: str = ""


@dataclass(frozen=True)
class Program:
    """The program of a library in one environment; `npm` is the environment of the npm libraries."""

    library: Library
    environment: str

    @property
    def title(self) -> str:
        """The name of the library, and the environment where it is not the libraries' own."""
        own = {"client-libraries", "npm", "clients"}
        return self.library.name if self.environment in own else f"{self.library.name}, {self.environment}"


def call_meanings() -> dict[str, str]:
    """Returns each call of the table, and what it shows."""
    meanings: dict[str, str] = _document()["calls"]
    return meanings


def all_libraries() -> list[Library]:
    """Returns the rows of the file in their order. Raises TypeError for an unknown or missing key."""
    rows: list[dict[str, Any]] = _document()["libraries"]
    return [
        Library(**{**row, "calls": tuple(row["calls"]), "environments": tuple(row.get("environments", ()))})
        for row in rows
    ]


def all_programs() -> list[Program]:
    """Returns the program of each library, once for each of its environments."""
    return [Program(one, name) for one in all_libraries() for name in one.environments or ("npm",)]


def coding_agents() -> list[CodingAgent]:
    """Returns the coding agents. Raises TypeError for an unknown or missing key."""
    rows = _document()["agents"]
    return [CodingAgent(**{**row, "runs": tuple(row["runs"]), "requests": tuple(row["requests"])}) for row in rows]


def documented_programs() -> list[DocumentedProgram]:
    """Returns the programs that are not run here. Raises TypeError for an unknown or missing key."""
    return [DocumentedProgram(**row) for row in _document()["documented"]]


def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    return document
