"""Reads YAML files of v1: compose files, and the `config.yaml` of v1's later versions."""

from pathlib import Path
from typing import Any

import yaml

from sekha_llm_bridge.cli.migrate_env.source import Raw, UnusableFile, V1Node, Variable

_SUFFIXES = {".yml", ".yaml"}
_SECTIONS = ("llm_providers", "providers")


class _Loader(yaml.SafeLoader):
    """Ignores tags such as Compose's `!reset`."""


def _untagged(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _untagged)


def has_yaml_name(path: Path) -> bool:
    """Whether the name is that of a YAML file: `docker-compose.yml`, also with `.backup` or another word after it."""
    return not _SUFFIXES.isdisjoint(path.suffixes) and not path.name.startswith(".env")


def parse_yaml(path: Path, text: str) -> dict[str, Any]:
    """Returns the mapping in the file. Raises `UnusableFile`."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 — a subclass of the safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UnusableFile(f"{where}: not valid YAML: {getattr(exc, 'problem', None) or type(exc).__name__}") from None
    if not isinstance(document, dict):
        raise UnusableFile(f"{path}: no mapping: give the .env or compose file that v1 used")
    return {str(key): value for key, value in document.items()}


def v1_settings(path: Path, document: dict[str, Any]) -> dict[str, V1Node]:
    """Returns the settings in v1's own YAML. Raises `UnusableFile` for a file without providers."""
    if not any(document.get(name) for name in _SECTIONS):
        expected = ", ".join(f"`{name}`" for name in ("services", *_SECTIONS))
        raise UnusableFile(f"{path}: has none of the keys {expected}: give the .env or compose file that v1 used")
    return {key: as_node(value, key) for key, value in document.items()}


def single_settings(settings: dict[str, V1Node]) -> dict[str, Variable]:
    """Returns the settings outside the sections, which have the names of variables: `chroma_url`, `log_level`."""
    found = {name.upper(): node for name, node in settings.items() if isinstance(node, Raw) and node.value is not None}
    return {name: Variable(name, str(node.value)) for name, node in found.items() if name != "VERSION"}


def as_node(value: Any, place: str) -> V1Node:
    """Returns parsed YAML or JSON as a tree whose values know their place."""
    if isinstance(value, dict):
        return {str(key): as_node(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [as_node(each, f"{place}[{index}]") for index, each in enumerate(value)]
    return Raw(value if isinstance(value, str | bool | int | float | None) else str(value), place)
