"""Reads a v1 file: a `.env`, a compose file, or v1's own YAML. All become variables, or a tree of values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias, Union


class UnusableFile(Exception):
    """The file cannot be read, or is not of v1. The message says so, without its text, which may be a key."""


class Variable(NamedTuple):
    """One variable. `raw`: its value with references. `is_literal`: single quotes, so that a dollar has no meaning."""

    name: str
    raw: str
    line: int = 0
    is_literal: bool = False


class Raw(NamedTuple):
    """A value of v1 in its own words; `place` is where it is in the file, for messages."""

    value: str | bool | int | float | None
    place: str


V1Node: TypeAlias = Union[Raw, dict[str, "V1Node"], list["V1Node"]]  # noqa: UP007 — `|` takes no forward reference


@dataclass(frozen=True, slots=True)
class Source:
    """The variables of a file. `references`: the raw values for which `$NAME` stands in it. In a `.env` they are those
    of the same variables, in a compose file those of the `.env` beside it.

    `settings`: v1's YAML, whose values have no variables. `unreadable`: places of lines without a meaning.
    """

    path: Path
    variables: Mapping[str, Variable]
    references: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, V1Node] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_source(path: Path, service: str | None) -> Source:
    """Reads the file. `service`: the service of a compose file. Raises `UnusableFile`."""
    from sekha_llm_bridge.cli.migrate_env.compose_file import parse_compose
    from sekha_llm_bridge.cli.migrate_env.env_file import parse_env
    from sekha_llm_bridge.cli.migrate_env.yaml_file import has_yaml_name, parse_yaml, single_settings, v1_settings

    text = read_text(path)
    if not has_yaml_name(path):
        return parse_env(path, text)
    document = parse_yaml(path, text)
    if "services" in document:
        return parse_compose(path, document, service)
    settings = v1_settings(path, document)
    return Source(path, single_settings(settings), settings=settings)


def read_text(path: Path) -> str:
    """Returns the text of the file, without a byte order mark. Raises `UnusableFile`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UnusableFile(f"{path}: not UTF-8 text: save it in that encoding") from exc
    except OSError as exc:
        problem = "no such file" if isinstance(exc, FileNotFoundError) else f"cannot be read, {exc.strerror}"
        raise UnusableFile(f"{path}: {problem}: give the path of the .env or compose file that v1 used") from exc
